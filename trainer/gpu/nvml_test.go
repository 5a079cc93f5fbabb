//go:build linux && cgo

package gpu

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
)

// machine is a DGX A100 as NVIDIA's mock of NVML shows it, with what a test changes.
type machine struct {
	*dgxa100.Server
	mu     sync.Mutex
	gpus   []*dgxa100.Device
	heat   map[int]uint32
	ecc    map[int]uint64
	lost   map[int]bool
	gone   map[int]bool
	failed map[int]bool
	events chan nvml.EventData
}

func newMachine() *machine {
	m := &machine{Server: dgxa100.New(), heat: map[int]uint32{}, ecc: map[int]uint64{}, lost: map[int]bool{}, gone: map[int]bool{}, failed: map[int]bool{}, events: make(chan nvml.EventData, 8)}
	byUUID := m.DeviceGetHandleByUUIDFunc
	m.DeviceGetHandleByUUIDFunc = func(uuid string) (nvml.Device, nvml.Return) {
		d, ret := byUUID(uuid)
		if ret == nvml.SUCCESS && m.is(m.gone, d.(*dgxa100.Device).Index) {
			return nil, nvml.ERROR_NOT_FOUND
		}
		return d, ret
	}
	m.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) {
		return &mock.EventSet{
			FreeFunc: func() nvml.Return { return nvml.SUCCESS },
			WaitFunc: func(ms uint32) (nvml.EventData, nvml.Return) {
				select {
				case e := <-m.events:
					return e, nvml.SUCCESS
				case <-time.After(min(time.Duration(ms)*time.Millisecond, 5*time.Millisecond)):
					return nvml.EventData{}, nvml.ERROR_TIMEOUT
				}
			},
		}, nvml.SUCCESS
	}
	for i := range m.Devices {
		d := m.Devices[i].(*dgxa100.Device)
		m.gpus = append(m.gpus, d)
		d.GetSupportedEventTypesFunc = func() (uint64, nvml.Return) { return nvml.EventTypeXidCriticalError, nvml.SUCCESS }
		d.RegisterEventsFunc = func(types uint64, _ nvml.EventSet) nvml.Return {
			if types != nvml.EventTypeXidCriticalError {
				return nvml.ERROR_INVALID_ARGUMENT
			}
			return nvml.SUCCESS
		}
		d.GetTemperatureThresholdFunc = func(t nvml.TemperatureThresholds) (uint32, nvml.Return) {
			return map[nvml.TemperatureThresholds]uint32{nvml.TEMPERATURE_THRESHOLD_SLOWDOWN: 89, nvml.TEMPERATURE_THRESHOLD_SHUTDOWN: 92}[t], nvml.SUCCESS
		}
		d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) {
			if m.is(m.lost, i) {
				return 0, nvml.ERROR_GPU_IS_LOST
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			return 30 + m.heat[i], nvml.SUCCESS
		}
		d.GetTotalEccErrorsFunc = func(of nvml.MemoryErrorType, since nvml.EccCounterType) (uint64, nvml.Return) {
			if of != nvml.MEMORY_ERROR_TYPE_UNCORRECTED || since != nvml.VOLATILE_ECC {
				return 1000, nvml.SUCCESS
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.ecc[i], nvml.SUCCESS
		}
		d.GetRetiredPagesPendingStatusFunc = func() (nvml.EnableState, nvml.Return) { return nvml.FEATURE_DISABLED, nvml.ERROR_NOT_SUPPORTED }
		d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 1, 0, false, m.is(m.failed, i), nvml.SUCCESS }
	}
	return m
}

func (m *machine) is(what map[int]bool, gpu int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return what[gpu]
}

func (m *machine) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *machine) named(gpu int) string { return Device{Index: gpu, UUID: m.gpus[gpu].UUID}.String() }

func TestInventory(t *testing.T) {
	m := newMachine()
	m.gpus[5].MigMode = nvml.DEVICE_MIG_ENABLE
	x, err := open(context.Background(), quick(), &nvmlDriver{library: m})
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Devices()) != 8 {
		t.Fatalf("found %d GPUs, want 8", len(x.Devices()))
	}
	for i, d := range x.Devices() {
		g := m.gpus[i]
		want := Device{Index: i, UUID: g.UUID, Name: g.Name, Memory: int64(g.MemoryInfo.Total), Capability: "8.0", Driver: "550.54.15", MIG: i == 5, Slowdown: 89, Shutdown: 92}
		if d != want || d.UUID == "" || d.Memory == 0 {
			t.Errorf("found %+v, want %+v", d, want)
		}
	}
}

func TestWhatHappensToGPUs(t *testing.T) {
	m := newMachine()
	x := watching(t, quick(), &nvmlDriver{library: m})
	x.until()
	m.events <- nvml.EventData{Device: m.gpus[0], EventType: nvml.EventTypeXidCriticalError, EventData: 79}
	xid := "fatal " + m.named(0) + ": XID 79: GPU has fallen off the bus"
	x.until(xid)
	m.set(func() { m.lost[0] = true })
	lost := "fatal " + m.named(0) + ": GPU is lost: the driver does not reach it any more"
	x.until(xid, lost)
	m.set(func() { m.ecc[2] = 2 })
	x.until(xid, lost, "fatal "+m.named(2)+": 2 uncorrectable memory errors since this node started")
	m.set(func() { delete(m.ecc, 2); m.heat[3] = 60 })
	x.until(xid, lost, "warn "+m.named(3)+": 90 °C, it slows down from 89 °C on")
	m.set(func() { delete(m.heat, 3); m.gone[4] = true; m.failed[6] = true })
	x.until(xid, lost, "fatal "+m.named(4)+": it is not there any more", "fatal "+m.named(6)+": broken memory could not be replaced: row remapping failed")
	m.set(func() { clear(m.gone); clear(m.failed); clear(m.lost) })
	x.until(xid)
	m.events <- nvml.EventData{Device: m.gpus[1], EventType: nvml.EventTypeXidCriticalError, EventData: 31} // an application's
	m.events <- nvml.EventData{Device: m.gpus[7], EventType: nvml.EventTypeXidCriticalError, EventData: 63}
	x.until(xid, "warn "+m.named(7)+": XID 63: GPU memory is remapped or retired at its next reset")
}

// An XID of a GPU that does not say which it is may be of any.
func TestAnXIDOfNobody(t *testing.T) {
	m := newMachine()
	x := watching(t, quick(), &nvmlDriver{library: m})
	m.events <- nvml.EventData{Device: &mock.Device{GetUUIDFunc: func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }}, EventType: nvml.EventTypeXidCriticalError, EventData: 79}
	var want []string
	for i := range m.gpus {
		want = append(want, "fatal "+m.named(i)+": XID 79: GPU has fallen off the bus")
	}
	x.until(want...)
}

// Functions that an old driver lacks are never called: that would end the process.
func TestAnOldDriver(t *testing.T) {
	m := newMachine()
	m.LookupSymbolFunc = func(name string) error { return errors.New("undefined symbol: " + name) }
	for _, d := range m.gpus {
		d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { panic("called") }
		d.GetMigModeFunc = func() (int, int, nvml.Return) { panic("called") }
		d.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) {
			return 0, nvml.ERROR_NOT_SUPPORTED
		}
	}
	m.set(func() { m.heat[1] = 62 })
	watching(t, quick(), &nvmlDriver{library: m}).until("fatal " + m.named(1) + ": 92 °C, it switches itself off at 92 °C")
}

func TestDriversThatCannotBeOpened(t *testing.T) {
	for _, c := range []struct {
		ret  nvml.Return
		none bool
		want string
	}{
		{nvml.ERROR_DRIVER_NOT_LOADED, true, "no GPU is watched: the NVIDIA driver is not loaded"},
		{nvml.ERROR_LIBRARY_NOT_FOUND, true, "no GPU is watched: NVML (libnvidia-ml.so.1) cannot be loaded: there is no driver"},
		{nvml.ERROR_LIB_RM_VERSION_MISMATCH, false, "the NVIDIA driver that is loaded and its library NVML have different versions: load the driver anew or restart the machine"},
		{nvml.ERROR_NO_PERMISSION, false, "NVML cannot be used: ERROR_NO_PERMISSION"},
	} {
		m := newMachine()
		m.InitFunc = func() nvml.Return { return c.ret }
		_, err := open(context.Background(), quick(), &nvmlDriver{library: m})
		if err == nil || err.Error() != c.want || errors.Is(err, ErrNone) != c.none {
			t.Errorf("%v: opened with %v", c.ret, err)
		}
	}
}

// The real loader on a library that is not there.
func TestNoLibrary(t *testing.T) {
	d := &nvmlDriver{library: nvml.New(nvml.WithLibraryPath(filepath.Join(t.TempDir(), "libnvidia-ml.so.1")))}
	if _, err := open(context.Background(), quick(), d); !errors.Is(err, ErrNone) {
		t.Errorf("opened with %v", err)
	}
}
