// Package gpu watches the health of the NVIDIA GPUs of this machine through NVML,
// the driver's library for management, and lists what they are.
//
// It guarantees that nothing waits for the driver: a call that hangs becomes a
// finding, costs one goroutine until it comes back, and no other call is made
// meanwhile; that each finding says in a sentence what is wrong with which GPU; and
// that a fatal one means that the GPU must not be used: its driver, its memory or its
// link has failed, or it is about to switch itself off. What is about an application
// alone (an XID like 13 or 31) is no finding. Fatal XIDs stay until the process ends,
// because only a reset of the GPU mends them and none can happen while it is watched;
// all other findings go when their cause does.
//
// It loads libnvidia-ml.so.1 when it is opened. Where there is none, where the build
// has no cgo, and where driver and library do not fit, [Open] says so and nothing
// else changes. It does not compute, does not choose a device and changes no setting.
// Instances of a GPU that is divided (MIG) share the findings of the GPU.
//
// Package trainer/agent puts the findings into a node's beats; the verb `ressa trainer`
// opens it.
package gpu
