package job

import (
	"context"

	"ressa/shard"
	"ressa/trainer/step"
)

// largest is the largest microbatch that the job may have, which memory is taken for
// at once: samples of the greatest length, each with the images of the one of a few
// that has most. One with more images takes more when it comes. lane is what the plan
// counted for it, in bytes.
func (r *run) largest(ctx context.Context) (largest step.Shape, lane int, err error) {
	if r.train == nil { // exported again, without a step
		return largest, 0, nil
	}
	c := r.subject.Architecture
	found, err := sizes(ctx, r.train, r.subject.Encoder.WithoutPixels())
	if err != nil {
		return largest, 0, err
	}
	p, err := Workload{Config: c, VisionBytes: 4, LanguageBytes: 4, Samples: found}.Profile(r.job) // of any weights
	if err != nil {
		return largest, 0, err
	}
	samples := (r.job.Train.Batch + r.job.Train.Microbatches - 1) / r.job.Train.Microbatches
	length := max(found.Length, min(r.job.Data.MaxLength, c.Language.MaxPositions))
	images := samples * found.Images
	rows := images * c.FeaturesPerImage()
	largest = step.Shape{Sequences: samples, Length: length, Images: images, Pixels: c.Vision.PixelsPerImage(), ImageRows: rows, Answers: samples * length}
	return largest, int(shard.InFlight(p, r.team.Plan(), r.team.Worker())), nil
}
