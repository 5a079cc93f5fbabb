// Command compile makes the objects of the CUDA kernels: CUDA C++ to PTX by NVRTC,
// PTX to cubins by ptxas, both of the versions that requirements.txt pins. It writes
// them, the manifest and the table in docs/kernels-cuda.md; with -verify it writes
// nothing and fails where what is there is not what the sources give, where a hot
// kernel spills, and where a compiler warns.
//
// The first line of a source may say more about it:
//
//	//compile: sm_90a hot=gemm_*,sddmm
//
// sm_90a: its cubin for sm_90a is made from PTX of its own (compute_90a), in which
// __CUDA_ARCH_FEAT_SM90_ALL is defined; hot: kernels that must not spill.
//
// The same sources give the same bytes on every machine: the compiler sees no path
// and no time. It does not install the compiler (make cuda-compiler does). go
// generate in kernels/cuda/source and make verify-cuda are the callers.
package main
