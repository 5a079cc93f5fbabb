package bench

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ressa/kernels"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/data"
	"ressa/trainer/model/llava"
	"ressa/trainer/random"
)

// noiseSite separates these numbers from other uses of the seed.
const noiseSite random.Site = 0x424E_4348 // "BNCH"

// noise returns microbatch m of random tokens and pixels: each sample an image,
// then text that ends in the answer.
func (t Task) noise(c llava.Config, m int) (*data.Batch, error) {
	r := random.New(t.Seed, uint32(m), 0, noiseSite)
	var samples []data.Sample
	for range t.Samples {
		var s data.Sample
		for i := range c.FeaturesPerImage() {
			s.Tokens, s.ImageRows = append(s.Tokens, int32(c.ImageToken)), append(s.ImageRows, int32(i))
		}
		for range t.Text {
			s.Tokens = append(s.Tokens, int32(r.Float32()*float32(min(c.ImageToken, c.Language.Vocabulary))))
		}
		s.Labels = make([]int32, len(s.Tokens))
		for i := range s.Labels {
			s.Labels[i] = data.Ignore
			if next := i + 1; next < len(s.Tokens) && next >= len(s.Tokens)-t.Answers {
				s.Labels[i] = s.Tokens[next]
			}
		}
		pixels := make([]float32, c.Vision.PixelsPerImage())
		for i := range pixels {
			pixels[i] = 2*r.Float32() - 1
		}
		s.Pixels = [][]float32{pixels}
		samples = append(samples, s)
	}
	b, err := data.Collate(samples, 0)
	return &b, err
}

// batchEntries are the microbatches as tensors "M.FIELD".
func batchEntries(batches []*data.Batch) (out []safetensors.Entry) {
	for m, b := range batches {
		integers := func(name string, v []int32, shape ...int) {
			raw := make([]byte, 4*len(v))
			for i, x := range v {
				binary.LittleEndian.PutUint32(raw[4*i:], uint32(x))
			}
			out = append(out, safetensors.NewEntry(fmt.Sprintf("%d.%s", m, name), safetensors.Tensor{DType: safetensors.I32, Shape: shape, Data: raw}))
		}
		integers("tokens", b.Tokens, b.Sequences, b.Length)
		integers("labels", b.Labels, b.Sequences, b.Length)
		integers("positions", b.Positions, b.Sequences, b.Length)
		integers("lengths", b.Lengths, b.Sequences)
		integers("image_rows", b.ImageRows, len(b.ImageRows))
		out = append(out, safetensors.NewEntry(fmt.Sprintf("%d.pixels", m),
			safetensors.Tensor{DType: safetensors.F32, Shape: []int{b.Images, len(b.Pixels) / max(1, b.Images)}, Data: kernels.EncodeF32(b.Pixels)}))
	}
	return out
}

// readBatches reads what batchEntries wrote.
func readBatches(path string, microbatches int) (out []*data.Batch, err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for m := range microbatches {
		tensor := func(name string) safetensors.Tensor {
			t, e := f.Tensor(fmt.Sprintf("%d.%s", m, name))
			err = errors.Join(err, e)
			return t
		}
		integers := func(name string) []int32 {
			raw := tensor(name).Data
			v := make([]int32, len(raw)/4)
			for i := range v {
				v[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
			}
			return v
		}
		shape, pixels := tensor("tokens").Shape, tensor("pixels")
		if err != nil {
			return nil, err
		}
		b := &data.Batch{Sequences: shape[0], Length: shape[1], Tokens: integers("tokens"), Labels: integers("labels"), Positions: integers("positions"),
			Lengths: integers("lengths"), ImageRows: integers("image_rows"), Images: pixels.Shape[0], Pixels: kernels.DecodeF32(pixels.Data)}
		for _, y := range b.Labels {
			if y >= 0 {
				b.AnswerTokens++
			}
		}
		out = append(out, b)
	}
	return out, err
}

// longest returns the positions that the batches need.
func longest(batches []*data.Batch) (n int) {
	for _, b := range batches {
		n = max(n, b.Length)
	}
	return n
}
