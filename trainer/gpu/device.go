package gpu

import "fmt"

// Device is a GPU as it was when it was listed.
type Device struct {
	Index      int    // of NVML, which is not CUDA's
	UUID       string // empty where the GPU could not be asked for it
	Name       string
	Memory     int64  // bytes
	Capability string // compute capability, like 9.0
	Driver     string // version
	BusID      string // of PCI
	MIG        bool   // it is divided into instances
	// Slowdown and Shutdown are the temperatures, in °C, at which it slows down and
	// switches itself off; 0 where it does not say.
	Slowdown, Shutdown int
}

// String names the device in sentences.
func (d Device) String() string {
	if d.UUID == "" {
		return fmt.Sprintf("GPU %d", d.Index)
	}
	return fmt.Sprintf("GPU %d (%s)", d.Index, d.UUID)
}

// Reading is what a GPU says of itself at one time. What it does not know stays 0.
type Reading struct {
	Temperature int    // °C
	ECC         bool   // Uncorrected is known
	Uncorrected uint64 // memory errors that were not corrected, since the driver was loaded
	// RemapPending and RetirePending: memory is taken out of use at the next reset.
	RemapPending, RetirePending bool
	RemapFailed                 bool // memory that is broken could not be replaced
}

// event is an XID: an error that the driver reports of a GPU.
type event struct {
	device int // position in the list of devices; -1 where it is not known
	xid    uint64
}
