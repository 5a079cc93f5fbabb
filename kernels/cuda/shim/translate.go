package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ressa/kernels/cuda/shim/ptx"
	"ressa/kernels/cuda/source"
)

// BuildPTX is [Build] of modules of PTX instead of the sources: what NVRTC made of them,
// translated to C++.
func BuildPTX(t testing.TB, modules ...source.Module) string {
	t.Helper()
	l := newLibrary(t)
	l.lock = "ptx" // nobody who builds the sources waits minutes for this
	return l.finish(t, l.translate(modules))
}

func (l *library) translate(modules []source.Module) error {
	kernels, err := sourceFolder() // for tensorcore.cc
	if err != nil {
		return err
	}
	at := filepath.Join(l.temporary, "ptx")
	if err := os.CopyFS(at, ptx.Runtime); err != nil {
		return err
	}
	host := filepath.Join(at, "host")
	l.include = append(l.include, host, kernels)
	if err := l.add(optimised, filepath.Join(host, "*.cc")); err != nil {
		return err
	}
	for _, m := range modules {
		units, err := ptx.Translate(m.Source+".ptx", m.Image)
		if err != nil {
			return err
		}
		for _, u := range units {
			path := filepath.Join(at, fmt.Sprintf("%s.%s.cc", m.Source, u.Kernel))
			if err := os.WriteFile(path, u.Text, 0o644); err != nil {
				return err
			}
			if err := l.add(translated, path); err != nil {
				return err
			}
		}
	}
	return nil
}
