package llava

import (
	"context"
	"errors"
	"fmt"

	"ressa/kernels"
	"ressa/trainer/model/layer"
)

// build makes the parts that the options ask for, with values from a source that
// puts them into the store it is given.
func build(ctx context.Context, device kernels.Device, c Config, o Options, from func(*store) source) (_ *Model, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	m := &Model{Config: c, device: device}
	stream, err := device.NewStream()
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	s := &store{ctx: ctx, device: device, stream: stream}
	defer func() {
		err = errors.Join(err, stream.Close())
		if err != nil {
			m.Close()
		}
	}()
	values := from(s)
	if o.Kept != nil {
		if o.Kept.device != device {
			return nil, fmt.Errorf("load model: parameters are kept on another device")
		}
		values = &keeping{values, s, o.Kept}
	}
	err = m.assemble(&builder{source: values}, s.rotary, o)
	if flushed := s.flush(); err == nil {
		err = flushed
	}
	m.owned = s.owned
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	return m, nil
}

// assemble builds the towers in canonical order.
func (m *Model) assemble(b *builder, tables func(positions, width int, theta float64) (*layer.Rotary, error), o Options) error {
	c := m.Config
	if !o.WithoutVision {
		stage, err := o.Vision.resolve("vision", c.FeatureBlocks)
		if err != nil {
			return err
		}
		m.Vision = newVision(b, c, stage)
		if stage.Hi == c.FeatureBlocks {
			m.Unused = unusedVision(b, c)
		}
	}
	if b.err != nil || o.WithoutLanguage {
		return b.err
	}
	stage, err := o.Language.resolve("language", c.Language.Blocks)
	if err != nil {
		return err
	}
	if whole := (Range{0, c.Language.Blocks}); c.Language.Tied && stage != whole {
		return fmt.Errorf("tie_word_embeddings: a language tower whose head is its token embedding cannot be cut into stages")
	}
	positions := c.Language.MaxPositions
	if o.MaxPositions > 0 {
		positions = min(positions, o.MaxPositions)
	}
	rotary, err := tables(positions, c.Language.HeadDim, c.Language.RopeTheta)
	if err != nil {
		return err
	}
	m.Language = newLanguage(b, c, stage, rotary)
	return b.err
}
