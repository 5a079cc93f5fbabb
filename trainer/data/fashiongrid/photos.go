package fashiongrid

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// Side is the width and height of a photo in pixels.
const Side = 28

// Classes are the names of the ten labels, one word each.
func Classes() []string {
	return []string{"tshirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"}
}

// Photo is one grey photograph, row by row.
type Photo struct {
	Pixels [Side * Side]uint8
	Label  uint8 // index into Classes
}

//go:embed train.parquet
var trainParquet []byte

//go:embed test.parquet
var testParquet []byte

// Shipped returns the photos that come with Ressa: 12,000 of the official
// training photos or all official test photos.
func Shipped(ctx context.Context, test bool) ([]Photo, error) {
	name, raw := "train.parquet", trainParquet
	if test {
		name, raw = "test.parquet", testParquet
	}
	photos, err := readParquet(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("read shipped photos %s: %w", name, err)
	}
	return photos, nil
}

func readParquet(ctx context.Context, raw []byte) ([]Photo, error) {
	pf, err := file.NewParquetReader(bytes.NewReader(raw), file.WithReadProps(parquet.NewReaderProperties(memory.DefaultAllocator)))
	if err != nil {
		return nil, err
	}
	defer pf.Close()
	reader, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	// The reader panics where its context ends; what it reads is in memory.
	tbl, err := reader.ReadTable(context.WithoutCancel(ctx))
	if err == nil && ctx.Err() != nil {
		tbl.Release()
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	defer tbl.Release()
	rows := array.NewTableReader(tbl, 0)
	defer rows.Release()
	photos := make([]Photo, 0, tbl.NumRows())
	for rows.Next() {
		record := rows.Record()
		images, ok1 := record.Column(0).(*array.Struct)
		labels, ok2 := record.Column(1).(*array.Int64)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("columns are %v, want image and label", record.Schema())
		}
		content, ok := images.Field(0).(*array.Binary)
		if !ok {
			return nil, fmt.Errorf("image.bytes is %v, want binary", images.Field(0).DataType())
		}
		for i := range int(record.NumRows()) {
			p, err := decodePhoto(content.Value(i), labels.Value(i))
			if err != nil {
				return nil, fmt.Errorf("photo %d: %w", len(photos), err)
			}
			photos = append(photos, p)
		}
	}
	return photos, rows.Err()
}

func decodePhoto(content []byte, label int64) (Photo, error) {
	img, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		return Photo{}, err
	}
	if img.Bounds() != image.Rect(0, 0, Side, Side) || label < 0 || label > 9 {
		return Photo{}, fmt.Errorf("found %v with label %d, want %d×%d with 0 to 9", img.Bounds(), label, Side, Side)
	}
	grey, ok := img.(*image.Gray)
	if !ok {
		grey = image.NewGray(img.Bounds())
		draw.Draw(grey, grey.Rect, img, image.Point{}, draw.Src)
	}
	p := Photo{Label: uint8(label)}
	copy(p.Pixels[:], grey.Pix)
	return p, nil
}

// ReadIDX reads the official files of one split from a folder, as Debian's
// package dataset-fashion-mnist installs them: train-images-idx3-ubyte.gz and
// train-labels-idx1-ubyte.gz, or t10k-….
func ReadIDX(dir string, test bool) ([]Photo, error) {
	prefix := "train"
	if test {
		prefix = "t10k"
	}
	pixels, err := readIDX(filepath.Join(dir, prefix+"-images-idx3-ubyte.gz"), 3)
	if err != nil {
		return nil, err
	}
	labels, err := readIDX(filepath.Join(dir, prefix+"-labels-idx1-ubyte.gz"), 1)
	if err != nil {
		return nil, err
	}
	if len(pixels) != len(labels)*Side*Side {
		return nil, fmt.Errorf("read %s: %d pixels for %d labels of %d×%d photos", dir, len(pixels), len(labels), Side, Side)
	}
	photos := make([]Photo, len(labels))
	for i, l := range labels {
		if l > 9 {
			return nil, fmt.Errorf("read %s: label %d of photo %d, want 0 to 9", dir, l, i)
		}
		photos[i].Label = l
		copy(photos[i].Pixels[:], pixels[i*Side*Side:])
	}
	return photos, nil
}

// maxIDX bounds what an idx file may expand to.
const maxIDX = 1 << 30

// readIDX reads a gzipped idx file of unsigned bytes with this many dimensions.
func readIDX(path string, dims int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read Fashion-MNIST: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxIDX))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	head := 4 + 4*dims
	if len(raw) < head || raw[2] != 8 || int(raw[3]) != dims {
		return nil, fmt.Errorf("read %s: no idx file of bytes with %d dimensions", path, dims)
	}
	want := 1
	for d := range dims {
		want *= int(binary.BigEndian.Uint32(raw[4+4*d:]))
		if want > maxIDX {
			return nil, fmt.Errorf("read %s: dimensions of more than %d bytes", path, maxIDX)
		}
	}
	if len(raw)-head != want {
		return nil, fmt.Errorf("read %s: %d bytes of data, want %d", path, len(raw)-head, want)
	}
	return raw[head:], nil
}
