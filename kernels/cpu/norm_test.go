//go:build cgo

package cpu

import (
	"bytes"
	"fmt"
	"testing"

	"ressa/kernels"
)

func TestNormsAgreeWithReference(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		for i, cols := range widths {
			for _, rows := range []int{1, 50, 2000} {
				t.Run(fmt.Sprintf("%dx%d", rows, cols), func(t *testing.T) {
					var want []byte
					for _, threads := range []int{1, 3} {
						w := newTwins(t, Options{Variant: variant, Threads: threads})
						f := func(rows int) pair { return w.tensor(kernels.F32, rows, cols, 2*(i%2), nil) }
						x, dy, y, dx, y2, dx2 := f(rows), f(rows), f(rows), f(rows), f(rows), f(rows)
						gamma, beta := w.tensor(kernels.BF16, 1, cols, 0, nil), f(1)
						dgamma, dbeta, dgamma2 := f(1), f(1), f(1)
						v := func() pair { return w.tensor(kernels.F32, 1, rows, 0, nil) }
						mean, rstd, rstd2 := v(), v(), v()
						w.run(func(s kernels.Stream, k int) {
							s.LayerNorm(y[k], x[k], gamma[k], beta[k], 1e-2, mean[k], rstd[k])
							s.LayerNormBackward(dx[k], dgamma[k], dbeta[k], dy[k], x[k], gamma[k], mean[k], rstd[k], false)
							s.RMSNorm(y2[k], x[k], beta[k], 1e-2, rstd2[k])
							s.RMSNormBackward(dx2[k], dgamma2[k], dy[k], x[k], beta[k], rstd2[k], true)
							s.RMSNormBackward(dx2[k], kernels.Tensor{}, dy[k], x[k], beta[k], rstd2[k], true)
						})
						for k, p := range []pair{y, dx, y2, dx2, mean, rstd, rstd2} {
							w.agree(fmt.Sprint("result ", k), p, 2e-5)
						}
						for k, p := range []pair{dgamma, dbeta, dgamma2} {
							w.agree(fmt.Sprint("parameter gradient ", k), p, 1e-4)
						}
						got := append(w.bytes(dgamma, 0), w.bytes(dx2, 0)...)
						if threads > 1 && !bytes.Equal(got, want) {
							t.Errorf("other bits with %d threads", threads)
						}
						want = got
					}
				})
			}
		}
	})
}
