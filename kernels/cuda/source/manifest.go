package source

import (
	"embed"
	"encoding/json"
	"fmt"
)

// Manifest says from what the objects were made, with what, and what they need.
type Manifest struct {
	NVRTC   Tool              `json:"nvrtc"`
	PTXAS   Tool              `json:"ptxas"`
	Headers map[string]string `json:"headers"` // SHA-256 of each .cuh
	Sources []Source          `json:"sources"` // by name
}

// Tool is one of the two compilers.
type Tool struct {
	Version string   `json:"version"`
	Options []string `json:"options"`
}

// Source is one .cu and its objects.
type Source struct {
	Name    string   `json:"name"` // without .cu
	SHA256  string   `json:"sha256"`
	Objects []Object `json:"objects"`
	Kernels []Kernel `json:"kernels"` // by name
}

// Object is a cubin for one architecture, or PTX. It lies, compressed, in
// objects/NAME.ARCHITECTURE.zst.
type Object struct {
	Architecture string `json:"architecture"` // sm_80, …; compute_80 for PTX
	SHA256       string `json:"sha256"`       // of what was compressed
}

// Kernel is one entry point.
type Kernel struct {
	Name  string           `json:"name"`
	Hot   bool             `json:"hot,omitempty"` // must not spill
	Usage map[string]Usage `json:"usage"`         // by architecture
}

// Usage is what ptxas reports of a kernel: registers of a thread, bytes of spill
// stores and loads, of the stack, and of static shared memory.
type Usage struct {
	Registers int `json:"registers"`
	Spills    int `json:"spills"`
	Stack     int `json:"stack"`
	Shared    int `json:"shared"`
}

const (
	// PTX is the architecture of the objects that a driver compiles.
	PTX = "compute_80"
	// ManifestFile is the manifest's place beside the sources.
	ManifestFile = "objects/manifest.json"
)

//go:embed objects
var objects embed.FS

// Read returns the manifest of the embedded objects.
func Read() (Manifest, error) {
	raw, err := objects.ReadFile(ManifestFile)
	if err != nil {
		return Manifest{}, fmt.Errorf("read the manifest of the CUDA objects: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return Manifest{}, fmt.Errorf("parse %s: %w", ManifestFile, err)
	}
	return m, nil
}

// ObjectFile is the place of an object beside the sources.
func ObjectFile(source, architecture string) string {
	return "objects/" + source + "." + architecture + ".zst"
}
