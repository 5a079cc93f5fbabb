package layer

import (
	"ressa/kernels"
	"ressa/trainer/model"
)

// trained reports whether p, which may be nil, is trained itself.
func trained(p *model.Param) bool { return p != nil && p.Slot != nil }

// trainedLinear reports whether anything of a linear layer is trained.
func trainedLinear(ns ...*model.Linear) bool {
	for _, n := range ns {
		if n != nil && (readsInput(n) || trained(n.Bias)) {
			return true
		}
	}
	return false
}

// readsInput reports whether the gradients of one of the layers are formed from
// its input.
func readsInput(ns ...*model.Linear) bool {
	for _, n := range ns {
		if n != nil && (n.A != nil || trained(n.Weight)) {
			return true
		}
	}
	return false
}

// gradient returns where the gradient of p goes, absent when p is frozen or nil.
func gradient(l *model.Lane, p *model.Param) kernels.Tensor {
	if !trained(p) {
		return kernels.Tensor{}
	}
	return p.Slot.View(l.Grads)
}
