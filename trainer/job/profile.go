package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ressa/coordinator/api"
	"ressa/shard"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/data"
	"ressa/trainer/model/llava"
	"ressa/trainer/step"
)

// Workload is what a job's costs depend on beside the job itself.
type Workload struct {
	Config llava.Config
	// VisionBytes and LanguageBytes are the bytes that a frozen element of each tower
	// has on the device: 2 for bfloat16, else 4.
	VisionBytes, LanguageBytes int
	// Samples are of the training data.
	Samples Samples
}

// Samples are the sizes of training samples.
type Samples struct {
	Length  int // tokens that a sample is padded to, image tokens included; 0 is the job's max_length
	Answers int // tokens that enter the loss; 0 is Length
	Images  int // images of a sample
}

// sampled is how many training examples are looked at for their sizes.
const sampled = 16

// Profile returns what the planner needs to know of a job, for a model that is not
// loaded: from its config.json, the headers of its weights, and the sizes of a few
// training examples. Errors are the user's to mend.
func Profile(ctx context.Context, j api.Job) (p shard.Profile, err error) {
	scratch, err := os.MkdirTemp("", "ressa-profile-")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	dir, err := modelDir(j.Model.Path, scratch)
	if err != nil {
		return p, err
	}
	w, err := workload(ctx, j, dir)
	if err != nil {
		return p, err
	}
	return w.Profile(j)
}

// workload reads what is read of a model's folder and of the training data.
func workload(ctx context.Context, j api.Job, dir string) (w Workload, err error) {
	s := &Subject{Dir: dir}
	w.VisionBytes, w.LanguageBytes = 4, 4
	if j.Model.Init == "random" {
		if s.Config, err = os.ReadFile(filepath.Join(dir, "config.json")); err != nil {
			return w, fmt.Errorf("model.path: %w", err)
		}
	} else {
		f, err := hf.Open(dir)
		if err != nil {
			return w, fmt.Errorf("model.path: %w", err)
		}
		s.Config = f.Config().Raw
		w.VisionBytes, w.LanguageBytes, err = elementBytes(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return w, err
		}
	}
	if w.Config, err = llava.ParseConfig(s.Config); err != nil {
		return w, fmt.Errorf("%s: %w", dir, err)
	}
	s.Architecture = w.Config
	if err := s.openEncoder(SubjectOptions{Dir: dir, Template: j.Data.Template, MaxLength: j.Data.MaxLength}); err != nil {
		return w, err
	}
	set, err := OpenData(ctx, "data.train", j.Data.Train, j.Seed)
	if err != nil {
		return w, err
	}
	defer closeSet(set)
	w.Samples, err = sizes(ctx, set, s.Encoder)
	return w, err
}

// elementBytes returns what an element of each tower takes once it is loaded, by
// the dtype of the tower's largest tensor: float16 is widened.
func elementBytes(f *hf.Folder) (vision, language int, err error) {
	largest := map[string]int{}
	bytes := map[string]int{step.Vision: 4, step.Language: 4}
	for _, name := range f.Names() {
		t, err := f.Tensor(name)
		if err != nil {
			return 0, 0, err
		}
		role := step.Language
		if strings.Contains(name, "vision_tower.") {
			role = step.Vision
		}
		if t.Len() > largest[role] {
			largest[role], bytes[role] = t.Len(), 4
			if t.DType == safetensors.BF16 {
				bytes[role] = 2
			}
		}
	}
	return bytes[step.Vision], bytes[step.Language], nil
}

// sizes looks at examples from all over a data set. The length is that of the
// longest: the samples of a microbatch are padded to the longest of them.
func sizes(ctx context.Context, set data.Dataset, e *data.Encoder) (Samples, error) {
	var out Samples
	n := min(sampled, set.Len())
	answers := 0
	for k := range n {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		ex, err := set.Example(k * set.Len() / n)
		if err != nil {
			return out, fmt.Errorf("data.train: %w", err)
		}
		s, err := e.Encode(ex)
		if err != nil {
			return out, fmt.Errorf("data.train: %w", err)
		}
		out.Length = max(out.Length, len(s.Tokens))
		out.Images = max(out.Images, len(s.Pixels))
		for _, l := range s.Labels {
			if l != data.Ignore {
				answers++
			}
		}
	}
	out.Answers = (answers + n - 1) / n
	return out, nil
}
