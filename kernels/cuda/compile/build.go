package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ressa/kernels/cuda/source"
)

// architectures have cubins; hopper's can be made from PTX of its own.
var architectures = []string{"sm_80", "sm_86", "sm_89", hopper}

const (
	hopper    = "sm_90a"
	hopperPTX = "compute_90a"
)

// result is all that the sources give.
type result struct {
	objects  map[string][]byte // by file, not compressed
	manifest source.Manifest
	warnings []string
}

// build compiles every .cu of a folder.
func build(ctx context.Context, c compiler, folder string) (*result, error) {
	headers, err := read(folder, "*.cuh")
	if err != nil {
		return nil, err
	}
	texts, err := read(folder, "*.cu")
	if err != nil {
		return nil, err
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("no .cu in %s (-source)", folder)
	}
	r := &result{objects: map[string][]byte{}, manifest: source.Manifest{Headers: map[string]string{}}}
	r.manifest.NVRTC, r.manifest.PTXAS = c.tools()
	for name, text := range headers {
		r.manifest.Headers[name] = sum([]byte(text))
	}
	names := slices.Sorted(maps.Keys(texts))
	parts := make([]*part, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, name := range names {
		group.Go(func() (err error) {
			parts[i], err = compile(ctx, c, unit{Name: name, Text: texts[name], Headers: headers})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	owner := map[string]string{}
	for _, p := range parts {
		for _, k := range p.source.Kernels {
			if other := owner[k.Name]; other != "" {
				return nil, fmt.Errorf("%s.cu and %s.cu both have a kernel %s", other, p.source.Name, k.Name)
			}
			owner[k.Name] = p.source.Name
		}
		r.manifest.Sources = append(r.manifest.Sources, p.source)
		r.warnings = append(r.warnings, p.warnings...)
		maps.Copy(r.objects, p.objects)
	}
	return r, nil
}

// part is what one source gives.
type part struct {
	source   source.Source
	objects  map[string][]byte
	warnings []string
}

func compile(ctx context.Context, c compiler, u unit) (*part, error) {
	d, err := parseDirective(u.Name, []byte(u.Text))
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(u.Name, ".cu")
	p := &part{source: source.Source{Name: name, SHA256: sum([]byte(u.Text))}, objects: map[string][]byte{}}
	keep := func(architecture string, object []byte) {
		p.source.Objects = append(p.source.Objects, source.Object{Architecture: architecture, SHA256: sum(object)})
		p.objects[source.ObjectFile(name, architecture)] = object
	}
	warn := func(architecture string, lines []string) {
		for _, l := range lines {
			p.warnings = append(p.warnings, fmt.Sprintf("%s for %s: %s", u.Name, architecture, l))
		}
	}
	portable, lines, err := c.ptx(ctx, source.PTX, u)
	if err != nil {
		return nil, err
	}
	warn(source.PTX, lines)
	keep(source.PTX, portable)
	own := portable
	if d.hopper {
		if own, lines, err = c.ptx(ctx, hopperPTX, u); err != nil {
			return nil, err
		}
		warn(hopperPTX, lines)
	}
	kernels := map[string]source.Kernel{}
	for _, a := range architectures {
		ptx := portable
		if a == hopper {
			ptx = own
		}
		object, log, err := c.cubin(ctx, a, ptx)
		if err != nil {
			return nil, fmt.Errorf("assemble %s for %s: %w", u.Name, a, err)
		}
		usage, lines, err := parseUsage(log)
		if err != nil {
			return nil, fmt.Errorf("assemble %s for %s: %w", u.Name, a, err)
		}
		warn(a, lines)
		keep(a, object)
		for k, used := range usage {
			if kernels[k].Usage == nil {
				kernels[k] = source.Kernel{Name: k, Hot: d.isHot(k), Usage: map[string]source.Usage{}}
			}
			kernels[k].Usage[a] = used
		}
	}
	all := slices.Sorted(maps.Keys(kernels))
	if pattern := d.unmatched(all); pattern != "" {
		return nil, fmt.Errorf("%s: hot=%s fits none of its kernels %v", u.Name, pattern, all)
	}
	for _, k := range all {
		p.source.Kernels = append(p.source.Kernels, kernels[k])
	}
	return p, nil
}

// read returns the files of a folder that fit a pattern, by name.
func read(folder, pattern string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", folder, err)
	}
	texts := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read a source: %w", err)
		}
		texts[filepath.Base(f)] = string(text)
	}
	return texts, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// encode writes a manifest as it lies on disk.
func encode(m source.Manifest) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "\t")
	if err := e.Encode(m); err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	return b.Bytes(), nil
}
