// Package pytorch carries step.py, which solves a task of package bench in PyTorch,
// by the published form of the SparseLoRA layer. It needs what requirements.txt
// pins; `make bench-pytorch` makes a virtual environment with that.
package pytorch

import _ "embed"

// Script is step.py.
//
//go:embed step.py
var Script []byte
