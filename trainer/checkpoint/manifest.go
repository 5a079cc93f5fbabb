package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"ressa/trainer/checkpoint/strictjson"
)

const (
	manifestFormat   = "ressa checkpoint 1"
	maxManifestBytes = 16 << 20
	blobSuffix       = ".safetensors"
)

// Identity is what a checkpoint belongs to. As something that is wanted, an
// empty field matches everything.
type Identity struct {
	Job         string `json:"job"`               // the job's id
	Config      string `json:"job_config_sha256"` // of the job file as it was resolved
	Base        string `json:"base_sha256"`       // of pruned weights and masks, as prune.BaseHash gives it
	NumericKind string `json:"numeric_kind"`      // as kernels.Device.Kind gives it
}

// Manifest describes one checkpoint.
type Manifest struct {
	Format string `json:"format"`
	Identity
	Seed       uint64 `json:"seed"`
	Step       int    `json:"step"` // steps that were applied
	Generation int    `json:"generation"`
	// CreatedAt is given by the caller; nothing depends on it.
	CreatedAt time.Time `json:"created_at"`
	Blob      string    `json:"blob"` // file name in the store
	SHA256    string    `json:"blob_sha256"`
	Bytes     int64     `json:"blob_bytes"`
	Tensors   int       `json:"tensors"`
	// Metrics are finite numbers of any meaning, as the validation loss.
	Metrics map[string]float64 `json:"metrics"`
	// Checksum is the SHA-256 of the manifest with this field empty.
	Checksum string `json:"checksum"`
}

// name returns the manifest's file name, by which names sort as steps do.
func (m Manifest) name() string {
	return fmt.Sprintf("step-%010d.generation-%06d.json", m.Step, m.Generation)
}

// check reports the first field that no manifest can have.
func (m Manifest) check() error {
	switch {
	case m.Step < 0:
		return fmt.Errorf("step: found %d, expected at least 0", m.Step)
	case m.Generation < 0:
		return fmt.Errorf("generation: found %d, expected at least 0", m.Generation)
	case m.Job == "":
		return errors.New("job: found nothing, expected the job's id")
	}
	for _, k := range slices.Sorted(maps.Keys(m.Metrics)) {
		if v := m.Metrics[k]; math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("metrics: %q: found %v, expected a finite number", k, v)
		}
	}
	return nil
}

// encode returns the manifest's file with its checksum in it.
func (m Manifest) encode() ([]byte, error) {
	var err error
	if m.Checksum, err = m.checksum(); err != nil {
		return nil, err
	}
	return m.marshal()
}

func (m Manifest) checksum() (string, error) {
	m.Checksum = ""
	text, err := m.marshal()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// marshal relies on encoding/json writing the keys of a map sorted.
func (m Manifest) marshal() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	return append(text, '\n'), err
}

// readManifest reads and checks the manifest at path.
func readManifest(path string) (m Manifest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxManifestBytes+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return m, err
	}
	if m, err = parseManifest(text); err != nil {
		return m, fmt.Errorf("%w: manifest %s: %w; remove it or restore it from a copy", ErrDamaged, path, err)
	}
	if m.name() != filepath.Base(path) {
		return m, fmt.Errorf("%w: manifest %s: found that of step %d, generation %d, expected them to agree with the file's name", ErrDamaged, path, m.Step, m.Generation)
	}
	return m, nil
}

func parseManifest(text []byte) (m Manifest, err error) {
	if len(text) > maxManifestBytes {
		return m, fmt.Errorf("found more than %d bytes, expected at most that", maxManifestBytes)
	}
	if err := strictjson.Object(text); err != nil {
		return m, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, err
	}
	if m.Format != manifestFormat {
		return m, fmt.Errorf("format: found %q, expected %q", m.Format, manifestFormat)
	}
	if err := m.check(); err != nil {
		return m, err
	}
	sum, err := m.checksum()
	if err != nil {
		return m, err
	}
	if sum != m.Checksum {
		return m, fmt.Errorf("checksum: found %.64q, expected %s for its contents", m.Checksum, sum)
	}
	// The blob's name must not lead out of the store.
	if raw, err := hex.DecodeString(m.SHA256); err != nil || len(raw) != sha256.Size || strings.ToLower(m.SHA256) != m.SHA256 {
		return m, fmt.Errorf("blob_sha256: found %.70q, expected 64 hexadecimal digits", m.SHA256)
	}
	if m.Blob != m.SHA256+blobSuffix {
		return m, fmt.Errorf("blob: found %.90q, expected %q", m.Blob, m.SHA256+blobSuffix)
	}
	return m, nil
}

// manifestNames returns the file names of the manifests in dir, oldest first.
func manifestNames(dir string) ([]string, error) {
	pattern := regexp.MustCompile(`^step-\d{10,}\.generation-\d{6,}\.json$`)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if pattern.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}
