//go:build cgo && linux

package cli

import (
	"testing"

	"ressa/coordinator/api"
	"ressa/kernels/cuda"
	"ressa/kernels/cuda/shim"
	"ressa/kernels/cuda/source"
	"ressa/kernels/reference"
	"ressa/trainer/agent"
)

// A GPU is offered with its own memory, the processor with the machine's.
func TestInventoryTellsWhoseMemoryItIs(t *testing.T) {
	library := shim.Build(t)
	const memory = 3_000_000_000
	t.Setenv("RESSA_SHIM_MEMORY", "3000000000")
	gpu, err := cuda.Open(cuda.Options{Library: library, Objects: func(int, int) (source.Images, error) {
		return source.Images{Architecture: "sm_80", Compiler: "shim", Modules: []source.Module{{Image: []byte("any")}}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer gpu.Close()
	var d api.Device
	if err := offerMemory(&d, gpu); err != nil || d.Memory != memory || !d.Apart || d.Stream < 16<<20 {
		t.Errorf("a GPU is offered as %+v, %v; want its %d bytes", d, err, memory)
	}
	var processor api.Device
	before := agent.FreeMemory()
	if err := offerMemory(&processor, reference.Open()); err != nil || processor.Memory < before/2 || processor.Apart || processor.Stream != 0 {
		t.Errorf("the processor is offered as %+v, %v; want about %d bytes", processor, err, before)
	}
}
