// Package objective defines what a repair minimises: cross-entropy on the
// answer tokens and cross-modality distillation from the dense original,
//
//	L = (1−λ)·CE + λ·T²·KL(teacher ‖ student),
//
// as a mean per answer token, or with the normalisation of the RESSA paper
// (arXiv 2404.02424). It says which teachers there are and how losses are
// scaled; the arithmetic is kernels.CrossEntropyKL. Package step is the caller.
package objective
