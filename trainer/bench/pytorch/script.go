// Package pytorch carries what package bench compares with, in PyTorch: step.py
// solves a task of its steps, gpu.py runs the cases of its GPU benchmark. Both have
// the SparseLoRA layer in the published form. They need what requirements.txt pins;
// `make bench-pytorch` makes a virtual environment with that. gpu.py needs PyTorch
// alone, 2.1 or newer.
package pytorch

import _ "embed"

// Script is step.py.
//
//go:embed step.py
var Script []byte

// GPUScript is gpu.py.
//
//go:embed gpu.py
var GPUScript []byte
