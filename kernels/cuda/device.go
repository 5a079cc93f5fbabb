//go:build cgo && linux

package cuda

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
	"ressa/kernels/cuda/source"
)

// version counts changes of the kernels that change the bits of a result.
const version = 1

// Device is a GPU with our kernels loaded. It is safe for concurrent use.
type Device struct {
	kind    string
	gpu     GPU
	options Options
	// scratchLimit is attention_bf16.go's; the bits do not depend on it.
	scratchLimit int
	context      *driver.Context
	modules      []*driver.Module
	zeroing      sync.Mutex    // of the stream below
	zeroes       driver.Stream // fills new memory
	mu           sync.Mutex    // of what follows
	memory       memory
	streams      map[*Stream]bool
	kernels      map[string]*kernel
}

// Open opens a GPU: it loads the driver and the kernels. The error says what is
// missing.
func Open(o Options) (kernels.Device, error) {
	d, err := open(o)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func open(o Options) (*Device, error) {
	if o.Objects == nil {
		o.Objects = source.Load
	}
	if o.Library == "" {
		o.Library = "libcuda.so.1"
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Minute
	}
	if o.Staging < 0 || o.Patience < 0 || o.Device < 0 {
		return nil, fmt.Errorf("cuda: device %d, staging %d, patience %v: none may be negative", o.Device, o.Staging, o.Patience)
	}
	if o.Staging == 0 {
		o.Staging = 16 << 20
	}
	if o.Compute != kernels.F32 && o.Compute != kernels.BF16 {
		return nil, fmt.Errorf("cuda: products of %v, want %v or %v", o.Compute, kernels.F32, kernels.BF16)
	}
	l, err := driver.Open(o.Library)
	if err != nil {
		return nil, err
	}
	n, err := l.Devices()
	if err != nil {
		return nil, fmt.Errorf("cuda: count GPUs: %w", err)
	}
	if o.Device >= n {
		return nil, fmt.Errorf("cuda: no GPU %d; there are %d, numbered from 0", o.Device, n)
	}
	p, err := l.Properties(o.Device)
	if err != nil {
		return nil, fmt.Errorf("cuda: describe GPU %d: %w", o.Device, err)
	}
	if p.Major < 8 {
		return nil, fmt.Errorf("cuda: GPU %d (%s) has compute capability %d.%d, want at least 8.0", o.Device, p.Name, p.Major, p.Minor)
	}
	objects, err := o.Objects(p.Major, p.Minor)
	if err != nil {
		return nil, fmt.Errorf("cuda: kernels for compute capability %d.%d: %w", p.Major, p.Minor, err)
	}
	architecture, compiler := strings.ReplaceAll(objects.Architecture, "_", ""), objects.Compiler
	if compiler == "" {
		architecture = fmt.Sprintf("sm%d%d", p.Major, p.Minor)
		release, err := l.Release()
		if err != nil {
			return nil, fmt.Errorf("cuda: name the driver: %w", err)
		}
		compiler = "jit" + release
	}
	if o.Compute == kernels.BF16 {
		architecture += "-bf16"
	}
	d := &Device{
		gpu:     GPU{Name: p.Name, UUID: p.UUID, Capability: fmt.Sprintf("%d.%d", p.Major, p.Minor), Memory: p.Memory},
		kind:    fmt.Sprintf("cuda-%s/%d+%s", architecture, version, compiler),
		options: o, scratchLimit: scratchLimit, streams: map[*Stream]bool{}, kernels: map[string]*kernel{},
	}
	if d.context, err = l.Retain(o.Device); err != nil {
		return nil, fmt.Errorf("cuda: open GPU %d: %w", o.Device, err)
	}
	if err := d.load(objects.Modules); err != nil {
		return nil, errors.Join(fmt.Errorf("cuda: load kernels on GPU %d: %w", o.Device, err), d.Close())
	}
	return d, nil
}

func (d *Device) load(modules []source.Module) (err error) {
	if d.zeroes, err = d.context.NewStream(); err != nil {
		return err
	}
	for _, module := range modules {
		m, err := d.context.LoadModule(module.Image)
		if err != nil {
			return fmt.Errorf("%s: %w", module.Source, err)
		}
		d.modules = append(d.modules, m)
	}
	return nil
}

// Kind names the architecture, what products round their operands to where they do,
// the version of the kernel set and the compiler, as cuda-sm90a-bf16/1+ptxas12.4.
func (d *Device) Kind() string { return d.kind }

// Describe returns what GPU a device of this package is.
func Describe(d kernels.Device) (GPU, bool) {
	own, ok := d.(*Device)
	if !ok {
		return GPU{}, false
	}
	return own.gpu, true
}

// kernel is a function of the sources, and the dynamic shared memory that its
// launches may have.
type kernel struct {
	driver.Function
	shared int
}

// plainShared is the shared memory, static and dynamic, that every kernel may have.
const plainShared = 48 << 10

// kernel returns a kernel by its name in the sources, for launches with so many bytes
// of dynamic shared memory.
func (d *Device) kernel(name string, shared int) (driver.Function, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kernels[name]
	if k == nil {
		f, err := d.find(name)
		if err != nil {
			return f, err
		}
		a, err := f.Attributes()
		if err != nil {
			return f, fmt.Errorf("kernel %s: %w", name, err)
		}
		k = &kernel{f, plainShared - a.Shared}
		d.kernels[name] = k
	}
	if shared > k.shared {
		if err := k.SetDynamicShared(shared); err != nil {
			return k.Function, fmt.Errorf("kernel %s: %d bytes of shared memory a block: %w", name, shared, err)
		}
		k.shared = shared
	}
	return k.Function, nil
}

func (d *Device) find(name string) (driver.Function, error) {
	for _, m := range d.modules {
		if f, err := m.Function(name); !errors.Is(err, &driver.Error{Code: driver.NotFound}) {
			return f, err
		}
	}
	return driver.Function{}, fmt.Errorf("kernel %s is in none of the %d objects", name, len(d.modules))
}

// errPatience is why an internal wait ends.
var errPatience = errors.New("cuda: the GPU has not done what it was told")

// patiently waits until ready says so, as long as Options.Patience.
func (d *Device) patiently(ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), d.options.Patience)
	defer cancel()
	err := await(ctx, ready)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w for %v", errPatience, d.options.Patience)
	}
	return err
}

// await asks ready again and again. A wait of less than a millisecond, which most
// are, takes no sleep, whose shortest is longer than a small kernel.
func await(ctx context.Context, ready func() (bool, error)) error {
	for asked := 0; ; asked++ {
		if done, err := ready(); done || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if asked < 1000 {
			runtime.Gosched()
		} else {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// Close frees the device's memory, buffers that were not freed included. All streams
// must be closed before.
func (d *Device) Close() error {
	d.mu.Lock()
	open := len(d.streams)
	d.mu.Unlock()
	if open > 0 {
		return fmt.Errorf("cuda: close the device: %d of its streams are open", open)
	}
	var errs []error
	for _, m := range d.modules {
		errs = append(errs, m.Unload())
	}
	d.modules = nil
	errs = append(errs, d.freeAll())
	if d.zeroes != (driver.Stream{}) {
		errs = append(errs, d.zeroes.Destroy())
		d.zeroes = driver.Stream{}
	}
	if d.context != nil {
		errs = append(errs, d.context.Release())
		d.context = nil
	}
	return errors.Join(errs...)
}
