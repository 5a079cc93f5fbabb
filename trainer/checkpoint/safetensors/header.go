package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"ressa/trainer/checkpoint/strictjson"
)

// The bounds of the format: the reference implementation refuses longer headers
// too; the others are far above what any model has.
const (
	MaxHeaderBytes = 100_000_000
	maxDimensions  = 16
	maxNameBytes   = 4096
	lengthBytes    = 8
	metadataKey    = "__metadata__"
)

// span is what the header says about one tensor; begin and end count from the
// first byte after the header.
type span struct {
	dtype      DType
	shape      []int
	begin, end int
}

// header is the parsed beginning of a file.
type header struct {
	spans    map[string]span
	metadata map[string]string
	data     int // offset of the first byte after the header
}

// parseHeader reads and checks the header of a file given as a whole.
func parseHeader(file []byte) (*header, error) {
	if len(file) < lengthBytes {
		return nil, fmt.Errorf("truncated: found %d bytes, expected at least the %d of the header length", len(file), lengthBytes)
	}
	length := binary.LittleEndian.Uint64(file)
	if length > MaxHeaderBytes {
		return nil, fmt.Errorf("header length: found %d, expected at most %d", length, MaxHeaderBytes)
	}
	if rest := len(file) - lengthBytes; length > uint64(rest) {
		return nil, fmt.Errorf("truncated: header length says %d bytes, found %d", length, rest)
	}
	h := &header{data: lengthBytes + int(length)}
	text := file[lengthBytes:h.data]
	if len(text) == 0 || text[0] != '{' {
		return nil, errors.New("header: expected it to begin with '{'")
	}
	if err := strictjson.Object(text); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := h.decode(text); err != nil {
		return nil, err
	}
	return h, h.checkCoverage(len(file) - h.data)
}

func (h *header) decode(text []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	h.spans = make(map[string]span, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if name == metadataKey {
			metadata, err := parseMetadata(raw[name])
			if err != nil {
				return err
			}
			h.metadata = metadata
			continue
		}
		if len(name) > maxNameBytes {
			return fmt.Errorf("tensor %.40q…: name has %d bytes, expected at most %d", name, len(name), maxNameBytes)
		}
		s, err := parseSpan(raw[name])
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		h.spans[name] = s
	}
	return nil
}

// parseMetadata decodes into pointers because a null would become "" otherwise.
func parseMetadata(raw json.RawMessage) (map[string]string, error) {
	var m map[string]*string
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("header: %s: expected an object of strings: %w", metadataKey, err)
	}
	out := make(map[string]string, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if m[k] == nil {
			return nil, fmt.Errorf("header: %s: %q: found null, expected a string", metadataKey, k)
		}
		out[k] = *m[k]
	}
	return out, nil
}

// parseSpan goes through a map because encoding/json matches the fields of a
// struct in any letter case.
func parseSpan(raw json.RawMessage) (span, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return span{}, errors.New("expected an object with dtype, shape and data_offsets")
	}
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if k != "dtype" && k != "shape" && k != "data_offsets" {
			return span{}, fmt.Errorf("unknown field %q, expected dtype, shape and data_offsets", k)
		}
	}
	var name string
	if err := json.Unmarshal(fields["dtype"], &name); err != nil {
		return span{}, fmt.Errorf("dtype: found %s, expected a string", shown(fields["dtype"]))
	}
	dtype, err := ParseDType(name)
	if err != nil {
		return span{}, err
	}
	shape, err := parseInts(fields["shape"])
	if err != nil {
		return span{}, fmt.Errorf("shape: %w", err)
	}
	if len(shape) > maxDimensions {
		return span{}, fmt.Errorf("shape: found %d dimensions, expected at most %d", len(shape), maxDimensions)
	}
	offsets, err := parseInts(fields["data_offsets"])
	if err != nil {
		return span{}, fmt.Errorf("data_offsets: %w", err)
	}
	if len(offsets) != 2 || offsets[0] > offsets[1] {
		return span{}, fmt.Errorf("data_offsets: found %v, expected [begin, end] with begin ≤ end", offsets)
	}
	s := span{dtype: dtype, shape: shape, begin: offsets[0], end: offsets[1]}
	want, err := ByteSize(dtype, shape)
	if err != nil {
		return span{}, err
	}
	if got := s.end - s.begin; got != want {
		return span{}, fmt.Errorf("data_offsets span %d bytes, expected %d for %v %v", got, want, dtype, shape)
	}
	return s, nil
}

// parseInts decodes an array of whole numbers ≥ 0. Pointers tell null apart,
// which encoding/json would read as zero.
func parseInts(raw json.RawMessage) ([]int, error) {
	var list []*int
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return nil, fmt.Errorf("found %s, expected an array of whole numbers", shown(raw))
	}
	out := make([]int, len(list))
	for i, p := range list {
		if p == nil || *p < 0 {
			return nil, fmt.Errorf("found %s, expected whole numbers of at least 0", shown(raw))
		}
		out[i] = *p
	}
	return out, nil
}

// checkCoverage checks that the spans, in order, cover the data exactly.
func (h *header) checkCoverage(data int) error {
	end := 0
	for _, name := range h.byOffset() {
		s := h.spans[name]
		switch {
		case s.begin < end:
			return fmt.Errorf("tensor %q: data begins at %d, inside the tensor before it, expected %d", name, s.begin, end)
		case s.begin > end:
			return fmt.Errorf("tensor %q: data begins at %d, expected %d: %d bytes belong to no tensor", name, s.begin, end, s.begin-end)
		case s.end > data:
			return fmt.Errorf("tensor %q: truncated: data ends at byte %d, found %d bytes of data", name, s.end, data)
		}
		end = s.end
	}
	if end != data {
		return fmt.Errorf("found %d bytes of data, expected %d: the rest belongs to no tensor", data, end)
	}
	return nil
}

// byOffset returns the names in the order of their data; empty tensors come
// before what begins at the same byte.
func (h *header) byOffset() []string {
	names := slices.Sorted(maps.Keys(h.spans))
	sort.SliceStable(names, func(i, j int) bool {
		a, b := h.spans[names[i]], h.spans[names[j]]
		if a.begin != b.begin {
			return a.begin < b.begin
		}
		return a.end < b.end
	})
	return names
}

// shown shortens a piece of a header for a message.
func shown(raw json.RawMessage) string {
	const most = 60
	if len(raw) == 0 {
		return "nothing"
	}
	s := strings.ToValidUTF8(string(raw[:min(len(raw), most)]), "")
	if len(raw) > most {
		s += "…"
	}
	return s
}
