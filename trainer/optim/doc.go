// Package optim turns reduced gradients into new values: learning-rate
// schedules, the global gradient norm and AdamW over a tower's flat vector.
//
// The norm spans both towers: squares are summed per tensor in float64 on the
// device and the sums are added in canonical order, so that neither placement
// nor thread count can change a bit. It does not know where gradients come from.
// Package step is the caller.
package optim
