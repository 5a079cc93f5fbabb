package reference

import (
	"math"

	"ressa/kernels"
)

// x is (T, C); sums over a row are float64. The backward passes work from the
// stored statistics: with xhat the normalised row and e = dy·gamma,
//
//	LayerNorm: dx = rstd·(e − mean(e) − xhat·mean(e·xhat))
//	RMSNorm:   dx = rstd·(e − xhat·mean(e·xhat))

func (s *stream) LayerNorm(y, x, gamma, beta kernels.Tensor, eps float32, mean, rstd kernels.Tensor) {
	if !s.begin(kernels.CheckLayerNorm(y, x, gamma, beta, mean, rstd), y, x, gamma, beta, mean, rstd) {
		return
	}
	g, b := widened(gamma).row(0), widened(beta).row(0)
	for i := range x.Rows {
		xr, yr := floats(x).row(i), floats(y).row(i)
		mu, variance := 0.0, 0.0
		for _, v := range xr {
			mu += float64(v)
		}
		mu /= float64(len(xr))
		for _, v := range xr {
			variance += (float64(v) - mu) * (float64(v) - mu)
		}
		inv := 1 / math.Sqrt(variance/float64(len(xr))+float64(eps))
		for j, v := range xr {
			yr[j] = float32((float64(v)-mu)*inv*float64(g[j]) + float64(b[j]))
		}
		floats(mean).row(0)[i], floats(rstd).row(0)[i] = float32(mu), float32(inv)
	}
}

func (s *stream) LayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd kernels.Tensor, accumulate bool) {
	err := kernels.CheckLayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)
	if s.begin(err, dx, dgamma, dbeta, dy, x, gamma, mean, rstd) {
		normBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd, accumulate)
	}
}

func (s *stream) RMSNorm(y, x, gamma kernels.Tensor, eps float32, rstd kernels.Tensor) {
	if !s.begin(kernels.CheckRMSNorm(y, x, gamma, rstd), y, x, gamma, rstd) {
		return
	}
	g := widened(gamma).row(0)
	for i := range x.Rows {
		xr, yr := floats(x).row(i), floats(y).row(i)
		inv := 1 / math.Sqrt(dot(xr, xr)/float64(len(xr))+float64(eps))
		for j, v := range xr {
			yr[j] = float32(float64(v) * inv * float64(g[j]))
		}
		floats(rstd).row(0)[i] = float32(inv)
	}
}

func (s *stream) RMSNormBackward(dx, dgamma, dy, x, gamma, rstd kernels.Tensor, accumulate bool) {
	err := kernels.CheckRMSNormBackward(dx, dgamma, dy, x, gamma, rstd)
	if s.begin(err, dx, dgamma, dy, x, gamma, rstd) {
		normBackward(dx, dgamma, kernels.Tensor{}, dy, x, gamma, kernels.Tensor{}, rstd, accumulate)
	}
}

// AddLayerNorm is by its contract Add, then LayerNorm.
func (s *stream) AddLayerNorm(y, h, x, r, gamma, beta kernels.Tensor, eps float32, mean, rstd kernels.Tensor) {
	if s.begin(kernels.CheckAddLayerNorm(y, h, x, r, gamma, beta, mean, rstd), y, h, x, r, gamma, beta, mean, rstd) {
		s.Add(h, x, r)
		s.LayerNorm(y, h, gamma, beta, eps, mean, rstd)
	}
}

// AddRMSNorm is by its contract Add, then RMSNorm.
func (s *stream) AddRMSNorm(y, h, x, r, gamma kernels.Tensor, eps float32, rstd kernels.Tensor) {
	if s.begin(kernels.CheckAddRMSNorm(y, h, x, r, gamma, rstd), y, h, x, r, gamma, rstd) {
		s.Add(h, x, r)
		s.RMSNorm(y, h, gamma, eps, rstd)
	}
}

// normBackward is the backward pass of both norms; without mean it is RMSNorm's.
func normBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd kernels.Tensor, accumulate bool) {
	g, c := widened(gamma).row(0), float64(x.Cols)
	sumG, sumB := make([]float64, x.Cols), make([]float64, x.Cols)
	for i := range x.Rows {
		xr, dyr, dxr := floats(x).row(i), floats(dy).row(i), floats(dx).row(i)
		inv, mu := float64(floats(rstd).row(0)[i]), 0.0
		if !mean.IsZero() {
			mu = float64(floats(mean).row(0)[i])
		}
		meanE, meanEX := 0.0, 0.0
		for j, v := range xr {
			xhat, d := (float64(v)-mu)*inv, float64(dyr[j])
			e := d * float64(g[j])
			meanE += e
			meanEX += e * xhat
			sumG[j] += d * xhat
			sumB[j] += d
		}
		meanE, meanEX = meanE/c, meanEX/c
		if mean.IsZero() {
			meanE = 0
		}
		for j, v := range xr {
			xhat := (float64(v) - mu) * inv
			d := inv * (float64(dyr[j])*float64(g[j]) - meanE - xhat*meanEX)
			if accumulate {
				d += float64(dxr[j])
			}
			dxr[j] = float32(d)
		}
	}
	if !dgamma.IsZero() {
		narrow(floats(dgamma).row(0), sumG)
	}
	if !dbeta.IsZero() {
		narrow(floats(dbeta).row(0), sumB)
	}
}
