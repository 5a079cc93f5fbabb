package jpeg

// inverse dequantises a block and writes its samples into the plane: the integer
// transform of libjpeg's jidctint.c (Loeffler, Ligtenberg and Moschytz 1989), first
// down the columns with 2 more bits, then across the rows. The constants have 13
// fractional bits. Every file that an encoder wrote stays far below 32 bits.
func (c *component) inverse(block *[64]int16, x, y int) {
	stride := 8 * c.columns
	out := c.plane[8*y*stride+8*x:]
	flat := true
	for _, v := range block[1:] {
		if v != 0 {
			flat = false
			break
		}
	}
	if flat {
		v := level((int32(block[0])*int32(c.quant[0]) + 4) >> 3)
		for r := range 8 {
			row := out[r*stride : r*stride+8]
			for i := range row {
				row[i] = v
			}
		}
		return
	}
	var work [64]int32
	for i := range 8 {
		var in [8]int32
		for k := range in {
			in[k] = int32(block[8*k+i]) * int32(c.quant[8*k+i])
		}
		butterfly(&in, 11)
		for k, v := range in {
			work[8*k+i] = v
		}
	}
	for r := range 8 {
		in := (*[8]int32)(work[8*r:])
		butterfly(in, 18)
		row := out[r*stride : r*stride+8]
		for i, v := range in {
			row[i] = level(v)
		}
	}
}

// butterfly transforms 8 values and drops shift bits, rounding to nearest.
func butterfly(v *[8]int32, shift uint) {
	z := (v[2] + v[6]) * 4433 // 0.541196100
	e2 := z - v[6]*15137      // 1.847759065
	e3 := z + v[2]*6270       // 0.765366865
	e0 := (v[0] + v[4]) << 13 // scaled as the products are
	e1 := (v[0] - v[4]) << 13 //
	half := int32(1) << (shift - 1)
	a0, a3 := e0+e3+half, e0-e3+half
	a1, a2 := e1+e2+half, e1-e2+half

	o0, o1, o2, o3 := v[7], v[5], v[3], v[1]
	z1, z2, z3, z4 := o0+o3, o1+o2, o0+o2, o1+o3
	z5 := (z3 + z4) * 9633  // 1.175875602
	z1 *= -7373             // 0.899976223
	z2 *= -20995            // 2.562915447
	z3 = z5 - z3*16069      // 1.961570560
	z4 = z5 - z4*3196       // 0.390180644
	o0 = o0*2446 + z1 + z3  // 0.298631336
	o1 = o1*16819 + z2 + z4 // 2.053119869
	o2 = o2*25172 + z2 + z3 // 3.072711026
	o3 = o3*12299 + z1 + z4 // 1.501321110

	v[0], v[7] = (a0+o3)>>shift, (a0-o3)>>shift
	v[1], v[6] = (a1+o2)>>shift, (a1-o2)>>shift
	v[2], v[5] = (a2+o1)>>shift, (a2-o1)>>shift
	v[3], v[4] = (a3+o0)>>shift, (a3-o0)>>shift
}

// level moves a sample from around 0 to 0…255.
func level(v int32) uint8 { return clip(v + 128) }

func clip(v int32) uint8 { return uint8(max(0, min(255, v))) }
