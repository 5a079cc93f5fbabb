package layer

import (
	"ressa/kernels"
	"ressa/trainer/model"
)

// Trained reports whether p, which may be nil, is trained itself.
func Trained(p *model.Param) bool { return p != nil && p.Slot != nil }

// TrainedLinear reports whether anything of a linear layer is trained.
func TrainedLinear(ns ...*model.Linear) bool {
	for _, n := range ns {
		if n != nil && (ReadsInput(n) || Trained(n.Bias)) {
			return true
		}
	}
	return false
}

// ReadsInput reports whether the gradients of one of the layers are formed from
// its input.
func ReadsInput(ns ...*model.Linear) bool {
	for _, n := range ns {
		if n != nil && (n.A != nil || Trained(n.Weight)) {
			return true
		}
	}
	return false
}

// gradient returns where the gradient of p goes, absent when p is frozen or nil.
func gradient(l *model.Lane, p *model.Param) kernels.Tensor {
	if !Trained(p) {
		return kernels.Tensor{}
	}
	return p.Slot.View(l.Grads)
}
