package api

import (
	"fmt"
	"strconv"
	"strings"
)

// DeviceChoice is what --device says.
type DeviceChoice struct {
	Auto bool // what is best of what can be used
	GPU  int  // its number, from 0; -1 for none
}

// ParseDevice reads a value of --device: auto, cpu, cuda (the first GPU) or cuda:N.
func ParseDevice(text string) (DeviceChoice, error) {
	switch text {
	case "auto":
		return DeviceChoice{Auto: true}, nil
	case "cpu":
		return DeviceChoice{GPU: -1}, nil
	case "cuda":
		return DeviceChoice{}, nil
	}
	if number, ok := strings.CutPrefix(text, "cuda:"); ok {
		// As it is written here alone, so that a device has one name.
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && strconv.FormatUint(n, 10) == number {
			return DeviceChoice{GPU: int(n)}, nil
		}
	}
	return DeviceChoice{}, Invalid(fmt.Errorf("--device: found %q, want auto, cpu, cuda or cuda:N", text))
}

// String names the device as a node does.
func (d DeviceChoice) String() string {
	switch {
	case d.Auto:
		return "auto"
	case d.GPU < 0:
		return "cpu"
	}
	return fmt.Sprintf("cuda:%d", d.GPU)
}
