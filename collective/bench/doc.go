// Package bench measures collectives between processes beside plain TCP. One process
// a rank runs [Worker]; [Run] starts them, tells them of each other and collects the
// figures. In turns, on the same numbers, ranks sum a gradient by a ring over TCP and
// by package allreduce over the message plane (fp32, bf16, masked), and rank 0 sends
// activations to rank 1 over TCP and as an Arrow message. Every sum is checked.
//
// The ring is a fair one: both directions at once, sums while it receives, the same
// arithmetic as ours. It checks nothing it receives and survives nothing.
//
// `ressa bench collective` is the caller.
package bench
