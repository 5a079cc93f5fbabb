//go:build linux && cgo

package gpu

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// library is what of NVML is called; nvml.Interface has it.
type library interface {
	Init() nvml.Return
	Shutdown() nvml.Return
	Extensions() nvml.ExtendedInterface
	SystemGetDriverVersion() (string, nvml.Return)
	DeviceGetCount() (int, nvml.Return)
	DeviceGetHandleByIndex(int) (nvml.Device, nvml.Return)
	DeviceGetHandleByUUID(string) (nvml.Device, nvml.Return)
	EventSetCreate() (nvml.EventSet, nvml.Return)
}

// nvmlDriver asks the GPUs through NVML.
type nvmlDriver struct {
	library
	lacks   map[string]bool // of the newer functions
	devices []Device
	handles []nvml.Device // by device; nil where there is none
	events  nvml.EventSet
}

// native returns the driver of this machine.
func native() (driver, error) { return &nvmlDriver{library: nvml.New()}, nil }

// newer are functions that the libraries of old drivers lack. To call one that is not
// there ends the process.
var newer = []string{"nvmlDeviceGetRemappedRows", "nvmlDeviceGetMigMode"}

func (n *nvmlDriver) open() error {
	switch ret := n.Init(); ret {
	case nvml.SUCCESS:
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return fmt.Errorf("%w: NVML (libnvidia-ml.so.1) cannot be loaded: there is no driver", ErrNone)
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return fmt.Errorf("%w: the NVIDIA driver is not loaded", ErrNone)
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return errors.New("the NVIDIA driver that is loaded and its library NVML have different versions: load the driver anew or restart the machine")
	default:
		return fmt.Errorf("NVML cannot be used: %w", ret)
	}
	n.lacks = map[string]bool{}
	for _, f := range newer {
		n.lacks[f] = n.Extensions().LookupSymbol(f) != nil
	}
	return nil
}

func (n *nvmlDriver) list() ([]Device, error) {
	version, ret := n.SystemGetDriverVersion()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("version of the driver: %w", ret)
	}
	count, ret := n.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("number of GPUs: %w", ret)
	}
	n.devices, n.handles = make([]Device, count), make([]nvml.Device, count)
	for i := range count {
		d := Device{Index: i, Driver: version}
		if h, ret := n.DeviceGetHandleByIndex(i); ret == nvml.SUCCESS {
			n.handles[i] = h
			n.describe(h, &d)
		}
		n.devices[i] = d
	}
	return n.devices, nil
}

// describe fills in what a GPU says of itself; what it does not say stays empty.
func (n *nvmlDriver) describe(h nvml.Device, d *Device) {
	ok := func(ret nvml.Return) bool { return ret == nvml.SUCCESS }
	if s, ret := h.GetUUID(); ok(ret) {
		d.UUID = s
	}
	if s, ret := h.GetName(); ok(ret) {
		d.Name = s
	}
	if m, ret := h.GetMemoryInfo(); ok(ret) {
		d.Memory = int64(m.Total)
	}
	if major, minor, ret := h.GetCudaComputeCapability(); ok(ret) {
		d.Capability = fmt.Sprintf("%d.%d", major, minor)
	}
	if p, ret := h.GetPciInfo(); ok(ret) {
		id, _, _ := bytes.Cut(p.BusId[:], []byte{0})
		d.BusID = string(id)
	}
	if !n.lacks["nvmlDeviceGetMigMode"] {
		if mode, _, ret := h.GetMigMode(); ok(ret) {
			d.MIG = mode == nvml.DEVICE_MIG_ENABLE
		}
	}
	if t, ret := h.GetTemperatureThreshold(nvml.TEMPERATURE_THRESHOLD_SLOWDOWN); ok(ret) {
		d.Slowdown = int(t)
	}
	if t, ret := h.GetTemperatureThreshold(nvml.TEMPERATURE_THRESHOLD_SHUTDOWN); ok(ret) {
		d.Shutdown = int(t)
	}
}

func (n *nvmlDriver) read(device int) (Reading, error) {
	var r Reading
	h, err := n.handle(device)
	if err != nil {
		return r, err
	}
	t, ret := h.GetTemperature(nvml.TEMPERATURE_GPU)
	if err := failure("temperature", ret); err != nil {
		return r, err
	}
	r.Temperature = int(t)
	r.Uncorrected, ret = h.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
	if err := failure("ECC errors", ret); err != nil {
		return r, err
	}
	r.ECC = ret == nvml.SUCCESS
	pending, ret := h.GetRetiredPagesPendingStatus()
	if err := failure("retired pages", ret); err != nil {
		return r, err
	}
	r.RetirePending = ret == nvml.SUCCESS && pending == nvml.FEATURE_ENABLED
	if n.lacks["nvmlDeviceGetRemappedRows"] {
		return r, nil
	}
	_, _, remap, failed, ret := h.GetRemappedRows()
	if err := failure("remapped rows", ret); err != nil {
		return r, err
	}
	r.RemapPending, r.RemapFailed = ret == nvml.SUCCESS && remap, ret == nvml.SUCCESS && failed
	return r, nil
}

// handle looks a GPU up again: one that was taken away is not found any more.
func (n *nvmlDriver) handle(device int) (nvml.Device, error) {
	d := n.devices[device]
	if d.UUID == "" {
		h, ret := n.DeviceGetHandleByIndex(d.Index)
		return h, missing(ret)
	}
	h, ret := n.DeviceGetHandleByUUID(d.UUID)
	return h, missing(ret)
}

func missing(ret nvml.Return) error {
	switch ret {
	case nvml.ERROR_NOT_FOUND, nvml.ERROR_GPU_NOT_FOUND, nvml.ERROR_INVALID_ARGUMENT:
		return errGone
	}
	return failure("handle", ret)
}

// failure is the error of a call, and none where a GPU only has no answer to it.
func failure(what string, ret nvml.Return) error {
	switch ret {
	case nvml.SUCCESS, nvml.ERROR_NOT_SUPPORTED, nvml.ERROR_NO_PERMISSION, nvml.ERROR_NO_DATA:
		return nil
	case nvml.ERROR_GPU_IS_LOST:
		return errLost
	case nvml.ERROR_RESET_REQUIRED:
		return errSick
	}
	return fmt.Errorf("%s: %w", what, ret)
}

func (n *nvmlDriver) close() error {
	if n.events != nil {
		if ret := n.events.Free(); ret != nvml.SUCCESS {
			return fmt.Errorf("free events: %w", ret)
		}
	}
	if ret := n.Shutdown(); ret != nvml.SUCCESS {
		return fmt.Errorf("close NVML: %w", ret)
	}
	return nil
}
