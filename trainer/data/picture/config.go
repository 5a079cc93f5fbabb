package picture

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// Resampling filters, by Pillow's numbers.
const (
	Bilinear = 2
	Bicubic  = 3
)

// maxEdge bounds the sizes that a configuration may ask for.
const maxEdge = 8192

// Size is a size in pixels. It is read from {"height","width"}, from
// {"shortest_edge"} or from one number.
type Size struct {
	ShortestEdge int `json:"shortest_edge,omitempty"`
	Height       int `json:"height,omitempty"`
	Width        int `json:"width,omitempty"`
	number       int
}

// UnmarshalJSON reads the three forms.
func (s *Size) UnmarshalJSON(raw []byte) error {
	var n int
	if json.Unmarshal(raw, &n) == nil {
		*s = Size{number: n}
		return nil
	}
	type plain Size
	var p plain
	if err := json.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("size or crop_size: want a number or an object: %w", err)
	}
	*s = Size(p)
	return nil
}

// Config is a preprocessor_config.json of a CLIPImageProcessor. Marshalling it
// gives a file that transformers reads.
type Config struct {
	Type          string    `json:"image_processor_type"`
	DoConvertRGB  bool      `json:"do_convert_rgb"`
	DoResize      bool      `json:"do_resize"`
	Size          Size      `json:"size"`
	Resample      int       `json:"resample"`
	DoCenterCrop  bool      `json:"do_center_crop"`
	CropSize      Size      `json:"crop_size"`
	DoRescale     bool      `json:"do_rescale"`
	RescaleFactor float64   `json:"rescale_factor"`
	DoNormalize   bool      `json:"do_normalize"`
	Mean          []float64 `json:"image_mean"`
	Std           []float64 `json:"image_std"`
}

// DefaultConfig is what CLIPImageProcessor uses for fields that a file leaves
// out: OpenAI's CLIP at 224×224.
func DefaultConfig() Config {
	return Config{
		Type: "CLIPImageProcessor", DoConvertRGB: true, DoResize: true, Size: Size{ShortestEdge: 224}, Resample: Bicubic,
		DoCenterCrop: true, CropSize: Size{Height: 224, Width: 224}, DoRescale: true, RescaleFactor: 1.0 / 255,
		DoNormalize: true, Mean: []float64{0.48145466, 0.4578275, 0.40821073}, Std: []float64{0.26862954, 0.26130258, 0.27577711},
	}
}

// Load reads the image processor of a model folder: preprocessor_config.json, or
// the image_processor of processor_config.json, as newer versions write it.
func Load(folder string) (*Processor, error) {
	path := filepath.Join(folder, "preprocessor_config.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		path = filepath.Join(folder, "processor_config.json")
		var whole struct {
			ImageProcessor json.RawMessage `json:"image_processor"`
		}
		if raw, err = os.ReadFile(path); err == nil {
			if err := json.Unmarshal(raw, &whole); err != nil {
				return nil, fmt.Errorf("image processor %s: %w", path, err)
			}
			if raw = whole.ImageProcessor; raw == nil {
				return nil, fmt.Errorf("image processor %s: image_processor is missing", path)
			}
		} else if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("image processor: %s holds neither preprocessor_config.json nor processor_config.json", folder)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("image processor: %w", err)
	}
	p, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("image processor %s: %w", path, err)
	}
	return p, nil
}

// Parse reads the contents of a preprocessor_config.json.
func Parse(raw []byte) (*Processor, error) {
	c := DefaultConfig()
	c.Type = ""
	var others struct {
		FeatureExtractor string `json:"feature_extractor_type"` // the older name of the type
		DoPad            bool   `json:"do_pad"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &others); err != nil {
		return nil, err
	}
	if c.Type == "" {
		c.Type = others.FeatureExtractor
	}
	if others.DoPad {
		return nil, fmt.Errorf("do_pad: not supported, want false")
	}
	return New(c)
}

// New returns the processor of a configuration after checking it.
func New(c Config) (*Processor, error) {
	switch strings.TrimSuffix(strings.TrimSuffix(c.Type, "Fast"), "Pil") {
	case "CLIPImageProcessor", "CLIPFeatureExtractor", "LlavaImageProcessor", "":
	default:
		return nil, fmt.Errorf("image_processor_type: %q is not supported, want CLIPImageProcessor", c.Type)
	}
	if c.Size.number > 0 {
		c.Size = Size{ShortestEdge: c.Size.number}
	}
	if c.CropSize.number > 0 {
		c.CropSize = Size{Height: c.CropSize.number, Width: c.CropSize.number}
	}
	if !c.DoConvertRGB {
		return nil, fmt.Errorf("do_convert_rgb: false is not supported: the vision tower takes three channels")
	}
	if c.DoResize {
		if c.Resample != Bilinear && c.Resample != Bicubic {
			return nil, fmt.Errorf("resample: %d is not supported, want %d (bilinear) or %d (bicubic)", c.Resample, Bilinear, Bicubic)
		}
		s := c.Size
		square := within(s.Height) && within(s.Width) && s.ShortestEdge == 0
		if !square && !(within(s.ShortestEdge) && s.Height == 0 && s.Width == 0) {
			return nil, fmt.Errorf("size: want shortest_edge, or height and width, each in 1…%d", maxEdge)
		}
	}
	switch {
	case c.DoCenterCrop && !(within(c.CropSize.Height) && within(c.CropSize.Width)):
		return nil, fmt.Errorf("crop_size: want height and width, each in 1…%d", maxEdge)
	case !c.DoCenterCrop && !(c.DoResize && c.Size.ShortestEdge == 0):
		return nil, fmt.Errorf("do_center_crop: false needs a size of height and width: every image must come out alike")
	case c.DoRescale && !(c.RescaleFactor > 0 && c.RescaleFactor <= math.MaxFloat32):
		return nil, fmt.Errorf("rescale_factor: %v is not positive", c.RescaleFactor)
	}
	if c.DoNormalize {
		if len(c.Mean) != 3 || len(c.Std) != 3 {
			return nil, fmt.Errorf("image_mean and image_std: %d and %d values, want 3 each", len(c.Mean), len(c.Std))
		}
		for i, s := range c.Std {
			if !(s > 0) {
				return nil, fmt.Errorf("image_std[%d]: %v is not positive", i, s)
			}
		}
	}
	return &Processor{c}, nil
}

func within(n int) bool { return n >= 1 && n <= maxEdge }
