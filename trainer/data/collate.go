package data

import "fmt"

// Collate joins samples into one batch, right-padded with pad to the longest.
// All images must have one size, or none any pixels. It fails on an empty list, on an empty sample
// and on slices that do not fit together.
func Collate(samples []Sample, pad int32) (Batch, error) {
	if len(samples) == 0 {
		return Batch{}, fmt.Errorf("collate: no samples")
	}
	b := Batch{Sequences: len(samples)}
	pixels := -1
	for i, s := range samples {
		if len(s.Tokens) == 0 || len(s.Labels) != len(s.Tokens) {
			return Batch{}, fmt.Errorf("collate: sample %d has %d tokens and %d labels", i, len(s.Tokens), len(s.Labels))
		}
		b.Length = max(b.Length, len(s.Tokens))
		b.Images += len(s.Pixels)
		for j, p := range s.Pixels {
			if pixels < 0 {
				pixels = len(p)
			}
			if len(p) != pixels || pixels == 0 && p != nil {
				return Batch{}, fmt.Errorf("collate: image %d of sample %d has %d values, want %d", j, i, len(p), pixels)
			}
		}
	}
	rows := b.Sequences * b.Length
	b.Tokens, b.Labels, b.Positions = make([]int32, rows), make([]int32, rows), make([]int32, rows)
	b.Lengths = make([]int32, b.Sequences)
	b.Pixels = make([]float32, 0, b.Images*max(pixels, 0))
	for i, s := range samples {
		first := i * b.Length
		for t := range b.Length {
			b.Tokens[first+t], b.Labels[first+t], b.Positions[first+t] = pad, Ignore, int32(t)
		}
		copy(b.Tokens[first:], s.Tokens)
		copy(b.Labels[first:], s.Labels)
		b.Lengths[i] = int32(len(s.Tokens))
		for _, l := range s.Labels {
			if l >= 0 {
				b.AnswerTokens++
			}
		}
		for _, r := range s.ImageRows {
			if r < 0 || int(r) >= len(s.Tokens) {
				return Batch{}, fmt.Errorf("collate: image row %d of sample %d is outside its %d tokens", r, i, len(s.Tokens))
			}
			b.ImageRows = append(b.ImageRows, int32(first)+r)
		}
		for _, p := range s.Pixels {
			b.Pixels = append(b.Pixels, p...)
		}
	}
	if b.Images == 0 && len(b.ImageRows) > 0 || b.Images > 0 && (len(b.ImageRows) == 0 || len(b.ImageRows)%b.Images != 0) {
		return Batch{}, fmt.Errorf("collate: %d image tokens for %d images", len(b.ImageRows), b.Images)
	}
	return b, nil
}
