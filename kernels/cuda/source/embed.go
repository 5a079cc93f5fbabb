package source

import (
	"errors"
	"fmt"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// ErrTooOld is returned when no object can run on a device.
var ErrTooOld = errors.New("compute capability below 8.0, the least that the kernels are built for")

// Images are the modules of all kernels for one device.
type Images struct {
	Architecture string   // of the images: sm_90a, …, or [PTX]
	Compiler     string   // of the cubins, as numeric kinds name it: ptxas12.4; "" for PTX
	Reason       string   // why the driver has to compile; "" for cubins
	Modules      []Module // by name of the source
}

// Module is one loadable image.
type Module struct {
	Source  string
	Kernels []string
	Image   []byte // a cubin, or PTX that ends in NUL as drivers expect it
}

// Load returns the cubins for a device of this compute capability, or, where there
// are none, the PTX with the reason.
func Load(major, minor int) (Images, error) {
	if major < 8 {
		return Images{}, fmt.Errorf("%d.%d: %w", major, minor, ErrTooOld)
	}
	m, err := Read()
	if err != nil {
		return Images{}, err
	}
	images := Images{Architecture: m.architecture(major, minor), Compiler: "ptxas" + release(m.PTXAS.Version)}
	if images.Architecture == "" {
		images = Images{Architecture: PTX, Reason: fmt.Sprintf("no cubin for compute capability %d.%d, only for %s", major, minor,
			strings.Join(m.architectures(), ", "))}
	}
	// A kernel may be there for some architectures alone; PTX has those of sm_80.
	built := images.Architecture
	if built == PTX {
		built = "sm_80"
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return Images{}, fmt.Errorf("open the CUDA objects: %w", err)
	}
	defer decoder.Close()
	for _, s := range m.Sources {
		file := ObjectFile(s.Name, images.Architecture)
		packed, err := objects.ReadFile(file)
		if err != nil {
			return Images{}, fmt.Errorf("read %s: %w", file, err)
		}
		image, err := decoder.DecodeAll(packed, nil)
		if err != nil {
			return Images{}, fmt.Errorf("decompress %s: %w", file, err)
		}
		if images.Architecture == PTX {
			image = append(image, 0)
		}
		module := Module{Source: s.Name, Image: image}
		for _, k := range s.Kernels {
			if _, ok := k.Usage[built]; ok {
				module.Kernels = append(module.Kernels, k.Name)
			}
		}
		images.Modules = append(images.Modules, module)
	}
	return images, nil
}

// architecture is that of the cubins which a device runs, "" if there is none. One
// that ends in a letter has no other device than its own.
func (m Manifest) architecture(major, minor int) string {
	own := fmt.Sprintf("sm_%d%d", major, minor)
	for _, a := range m.architectures() {
		if strings.TrimSuffix(a, "a") == own {
			return a
		}
	}
	return ""
}

// architectures are those that there are cubins for; every source has all.
func (m Manifest) architectures() []string {
	var names []string
	if len(m.Sources) > 0 {
		for _, o := range m.Sources[0].Objects {
			if o.Architecture != PTX {
				names = append(names, o.Architecture)
			}
		}
	}
	return names
}

// release shortens 12.4.131 to 12.4.
func release(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
