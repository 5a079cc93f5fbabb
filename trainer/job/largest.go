package job

import (
	"context"

	"ressa/trainer/step"
)

// largest is the largest microbatch that the job may have, which memory is taken for
// at once: samples of the greatest length, each with the images of the one of a few
// that has most. One with more images takes more when it comes.
func (r *run) largest(ctx context.Context) (step.Shape, error) {
	if r.train == nil { // exported again, without a step
		return step.Shape{}, nil
	}
	c := r.subject.Architecture
	found, err := sizes(ctx, r.train, r.subject.Encoder.WithoutPixels())
	if err != nil {
		return step.Shape{}, err
	}
	samples := (r.job.Train.Batch + r.job.Train.Microbatches - 1) / r.job.Train.Microbatches
	length := max(found.Length, min(r.job.Data.MaxLength, c.Language.MaxPositions))
	images := samples * found.Images
	rows := images * c.FeaturesPerImage()
	return step.Shape{Sequences: samples, Length: length, Images: images, Pixels: c.Vision.PixelsPerImage(), ImageRows: rows, Answers: samples * length}, nil
}
