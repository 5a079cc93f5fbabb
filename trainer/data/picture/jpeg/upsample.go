package jpeg

// row writes row y of the component at the image's full width, as libjpeg's
// jdsample.c does: chroma that is halved is interpolated by the triangle filter, ¾
// of the nearer sample and ¼ of the next, other ratios repeat samples.
func (c *component) row(y int, out []uint8) {
	stride := 8 * c.columns
	at := y / c.down
	near := c.plane[at*stride : at*stride+c.width]
	// libjpeg repeats samples where a row has too few of them, and then down too.
	fancy := c.across == 1 && c.down == 2 || c.across == 2 && c.down <= 2 && c.width > 2
	if !fancy {
		for x := range out {
			out[x] = near[x/c.across]
		}
		return
	}
	far := near
	if c.down == 2 {
		other := max(0, min(c.height-1, at-1+2*(y%2)))
		far = c.plane[other*stride : other*stride+c.width]
	}
	if c.across == 1 {
		bias := 1 + y%2
		for x := range out {
			out[x] = uint8((3*int(near[x]) + int(far[x]) + bias) >> 2)
		}
		return
	}
	// Two rows' sums carry two more bits than one row's samples.
	sum := func(x int) int { return int(near[x]) }
	shift, even, odd := 2, 1, 2
	if c.down == 2 {
		sum = func(x int) int { return 3*int(near[x]) + int(far[x]) }
		shift, even, odd = 4, 8, 7
	}
	before, now := sum(0), sum(0)
	for x := range c.width {
		after := sum(min(x+1, c.width-1))
		out[2*x] = uint8((3*now + before + even) >> shift)
		if 2*x+1 < len(out) {
			out[2*x+1] = uint8((3*now + after + odd) >> shift)
		}
		before, now = now, after
	}
}
