package kernels

import "fmt"

// Check verifies shapes and dtypes.
func (g GemmArgs) Check() error {
	_, _, _, err := g.Dims()
	return err
}

// CheckLinearForward verifies the arguments of [SparseLoRA.LinearForward].
func CheckLinearForward(y, x Tensor, w LinearWeight, bias Tensor) error {
	if err := w.Check(); err != nil {
		return err
	}
	err := checkAll("linear forward", is(x, "x", F32), shaped(x, "x", F32, x.Rows, w.In()), shaped(y, "y", F32, x.Rows, w.Out()))
	if err == nil && !bias.IsZero() {
		err = checkAll("linear forward", is(bias, "bias", F32, BF16), shaped(bias, "bias", bias.DType, 1, w.Out()))
	}
	return err
}

// CheckLinearBackwardInput verifies the arguments of [SparseLoRA.LinearBackwardInput].
func CheckLinearBackwardInput(dx, dy Tensor, w LinearWeight) error {
	if err := w.Check(); err != nil {
		return err
	}
	return checkAll("linear backward input", shaped(dy, "dy", F32, dy.Rows, w.Out()), shaped(dx, "dx", F32, dy.Rows, w.In()))
}

// CheckLinearBackwardAdapter verifies the arguments of [SparseLoRA.LinearBackwardAdapter].
func CheckLinearBackwardAdapter(dA, dB, dy, x Tensor, w LinearWeight) error {
	if err := w.Check(); err != nil {
		return err
	}
	if w.A.IsZero() {
		return fmt.Errorf("linear backward adapter: the weight has no adapter")
	}
	return checkAll("linear backward adapter", shaped(x, "x", F32, x.Rows, w.In()), shaped(dy, "dy", F32, x.Rows, w.Out()),
		shaped(dA, "dA", F32, w.A.Rows, w.A.Cols), shaped(dB, "dB", F32, w.B.Rows, w.B.Cols))
}

// CheckLinearBackwardWeight verifies the arguments of [SparseLoRA.LinearBackwardWeight].
func CheckLinearBackwardWeight(dW, dy, x, mask Tensor) error {
	err := checkAll("linear backward weight", is(x, "x", F32), shaped(dy, "dy", F32, x.Rows, dy.Cols), shaped(dW, "dW", F32, dy.Cols, x.Cols))
	if err == nil && !mask.IsZero() {
		err = checkAll("linear backward weight", shaped(mask, "mask", U64, dy.Cols, MaskWords(x.Cols)))
	}
	return err
}

// CheckEffectiveWeight verifies the arguments of [SparseLoRA.EffectiveWeight].
func CheckEffectiveWeight(dst Tensor, w LinearWeight) error {
	if err := w.Check(); err != nil {
		return err
	}
	return checkAll("effective weight", is(dst, "dst", F32, w.Round), shaped(dst, "dst", dst.DType, w.Out(), w.In()))
}

// CheckLayerNorm verifies the arguments of [Normalisation.LayerNorm].
func CheckLayerNorm(y, x, gamma, beta, mean, rstd Tensor) error {
	return checkNorm("layer norm", x, shaped(y, "y", F32, x.Rows, x.Cols), vector(gamma, "gamma", x.Cols),
		vector(beta, "beta", x.Cols), shaped(mean, "mean", F32, 1, x.Rows), shaped(rstd, "rstd", F32, 1, x.Rows))
}

// CheckLayerNormBackward verifies the arguments of [Normalisation.LayerNormBackward].
func CheckLayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd Tensor) error {
	return checkNorm("layer norm backward", x, shaped(dx, "dx", F32, x.Rows, x.Cols), shaped(dy, "dy", F32, x.Rows, x.Cols),
		vector(gamma, "gamma", x.Cols), shaped(mean, "mean", F32, 1, x.Rows), shaped(rstd, "rstd", F32, 1, x.Rows),
		gradient(dgamma, "dgamma", x.Cols), gradient(dbeta, "dbeta", x.Cols))
}

// CheckRMSNorm verifies the arguments of [Normalisation.RMSNorm].
func CheckRMSNorm(y, x, gamma, rstd Tensor) error {
	return checkNorm("rms norm", x, shaped(y, "y", F32, x.Rows, x.Cols), vector(gamma, "gamma", x.Cols), shaped(rstd, "rstd", F32, 1, x.Rows))
}

// CheckRMSNormBackward verifies the arguments of [Normalisation.RMSNormBackward].
func CheckRMSNormBackward(dx, dgamma, dy, x, gamma, rstd Tensor) error {
	return checkNorm("rms norm backward", x, shaped(dx, "dx", F32, x.Rows, x.Cols), shaped(dy, "dy", F32, x.Rows, x.Cols),
		vector(gamma, "gamma", x.Cols), shaped(rstd, "rstd", F32, 1, x.Rows), gradient(dgamma, "dgamma", x.Cols))
}

// CheckAddLayerNorm verifies the arguments of [Normalisation.AddLayerNorm].
func CheckAddLayerNorm(y, h, x, r, gamma, beta, mean, rstd Tensor) error {
	return checkAddNorm("add and layer norm", h, x, r, func(h Tensor) error { return CheckLayerNorm(y, h, gamma, beta, mean, rstd) })
}

// CheckAddRMSNorm verifies the arguments of [Normalisation.AddRMSNorm].
func CheckAddRMSNorm(y, h, x, r, gamma, rstd Tensor) error {
	return checkAddNorm("add and rms norm", h, x, r, func(h Tensor) error { return CheckRMSNorm(y, h, gamma, rstd) })
}

func checkAddNorm(op string, h, x, r Tensor, norm func(h Tensor) error) error {
	if err := checkAdd(op, h, x, r); err != nil {
		return err
	}
	return norm(h)
}

func checkNorm(op string, x Tensor, errs ...error) error {
	if err := checkAll(op, is(x, "x", F32)); err != nil {
		return err
	}
	if x.Cols < 1 {
		return fmt.Errorf("%s: x has no columns", op)
	}
	return checkAll(op, errs...)
}

// vector verifies a parameter vector, F32 or BF16 (1, n).
func vector(t Tensor, name string, n int) error {
	if err := is(t, name, F32, BF16); err != nil {
		return err
	}
	return shaped(t, name, t.DType, 1, n)
}

// gradient verifies an optional gradient vector, F32 (1, n).
func gradient(t Tensor, name string, n int) error {
	if t.IsZero() {
		return nil
	}
	return shaped(t, name, F32, 1, n)
}
