package reference

import "ressa/kernels"

func (s *stream) Gemm(g kernels.GemmArgs) {
	_, _, k, err := g.Dims()
	if !s.begin(err, g.C, g.A, g.B) {
		return
	}
	c, a, b := floats(g.C), widened(g.A), widened(g.B)
	switch g.Form {
	case kernels.NT:
		dots(c, a, b, nil, g.Accumulate)
	case kernels.NN:
		combine(c, a.data, a.stride, 1, b, k, g.Accumulate)
	case kernels.TN:
		combine(c, a.data, 1, a.stride, b, k, g.Accumulate)
	}
}

// dots writes c[i][j] = a[i]·b[j] + bias[j], or adds that to c. bias may be nil.
// Four rows of b at a time share the loads of a.
func dots(c, a, b matrix[float32], bias []float32, accumulate bool) {
	var sum [4]float64
	for j := 0; j < c.cols; j += 4 {
		n := min(4, c.cols-j)
		for i := range c.rows {
			sum = [4]float64{}
			ar := a.row(i)
			if n == 4 {
				sum = dot4(ar, b.row(j), b.row(j+1), b.row(j+2), b.row(j+3))
			} else {
				for l := range n {
					sum[l] = dot(ar, b.row(j+l))
				}
			}
			cr := c.row(i)
			for l := range n {
				v := sum[l]
				if bias != nil {
					v += float64(bias[j+l])
				}
				if accumulate {
					v += float64(cr[j+l])
				}
				cr[j+l] = float32(v)
			}
		}
	}
}

func dot(a, b []float32) (sum float64) {
	b = b[:len(a)]
	for k, v := range a {
		sum += float64(v) * float64(b[k])
	}
	return sum
}

func dot4(a, b0, b1, b2, b3 []float32) [4]float64 {
	b0, b1, b2, b3 = b0[:len(a)], b1[:len(a)], b2[:len(a)], b3[:len(a)]
	var s0, s1, s2, s3 float64
	for k, v := range a {
		f := float64(v)
		s0 += f * float64(b0[k])
		s1 += f * float64(b1[k])
		s2 += f * float64(b2[k])
		s3 += f * float64(b3[k])
	}
	return [4]float64{s0, s1, s2, s3}
}

// combine writes c[i] = Σ_k a(i, k)·b[k] over n rows of b, or adds that to c,
// where a(i, k) is a[i*ai + k*ak].
func combine(c matrix[float32], a []float32, ai, ak int, b matrix[float32], n int, accumulate bool) {
	sum := make([]float64, c.cols)
	for i := range c.rows {
		clear(sum)
		if c.cols > 0 && n > 0 {
			combineRow(sum, a[i*ai:], ak, b, n)
		}
		cr := c.row(i)
		if accumulate {
			for j, v := range cr {
				sum[j] += float64(v)
			}
		}
		narrow(cr, sum)
	}
}

// combineRow adds Σ_k a[k*ak]·b[k] over n rows of b to sum, k ascending. Four
// rows at a time share the loads and stores of sum.
func combineRow(sum []float64, a []float32, ak int, b matrix[float32], n int) {
	k := 0
	for ; k+4 <= n; k += 4 {
		a0, a1, a2, a3 := float64(a[k*ak]), float64(a[(k+1)*ak]), float64(a[(k+2)*ak]), float64(a[(k+3)*ak])
		b0, b1, b2, b3 := b.row(k)[:len(sum)], b.row(k + 1)[:len(sum)], b.row(k + 2)[:len(sum)], b.row(k + 3)[:len(sum)]
		for j, s := range sum {
			s += a0 * float64(b0[j])
			s += a1 * float64(b1[j])
			s += a2 * float64(b2[j])
			s += a3 * float64(b3[j])
			sum[j] = s
		}
	}
	for ; k < n; k++ {
		f := float64(a[k*ak])
		for j, v := range b.row(k)[:len(sum)] {
			sum[j] += f * float64(v)
		}
	}
}
