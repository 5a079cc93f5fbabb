//go:build linux && cgo

package gpu

import (
	"fmt"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// listen registers for the XIDs of all GPUs that report them.
func (n *nvmlDriver) listen() error {
	set, ret := n.EventSetCreate()
	if ret != nvml.SUCCESS {
		return fmt.Errorf("set of events: %w", ret)
	}
	var deaf error
	for i, h := range n.handles {
		if h == nil {
			continue // read says why
		}
		supported, ret := h.GetSupportedEventTypes()
		if ret == nvml.SUCCESS && supported&nvml.EventTypeXidCriticalError == 0 {
			ret = nvml.ERROR_NOT_SUPPORTED
		}
		if ret == nvml.SUCCESS {
			ret = h.RegisterEvents(nvml.EventTypeXidCriticalError, set)
		}
		if ret != nvml.SUCCESS && deaf == nil {
			deaf = fmt.Errorf("%v: %w", n.devices[i], ret)
		}
	}
	n.events = set
	return deaf
}

// wait returns the next XID. Where its GPU is not known it is one that cannot be asked
// any more.
func (n *nvmlDriver) wait(timeout time.Duration) (*event, error) {
	e, ret := n.events.Wait(uint32(timeout.Milliseconds()))
	switch ret {
	case nvml.SUCCESS:
	case nvml.ERROR_TIMEOUT:
		return nil, nil
	default:
		return nil, fmt.Errorf("wait for events: %w", ret)
	}
	if e.EventType != nvml.EventTypeXidCriticalError {
		return nil, nil
	}
	out := &event{device: -1, xid: e.EventData}
	for i, h := range n.handles {
		if h != nil && h == e.Device {
			out.device = i
			return out, nil
		}
	}
	if uuid, ret := e.Device.GetUUID(); ret == nvml.SUCCESS {
		for i, d := range n.devices {
			if d.UUID == uuid {
				out.device = i
			}
		}
	}
	return out, nil
}
