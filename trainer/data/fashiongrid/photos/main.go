// Command photos makes train.parquet and test.parquet of package fashiongrid
// from the official files of Fashion-MNIST:
//
//	go run ./trainer/data/fashiongrid/photos -from /usr/share/datasets/fashion-mnist -to trainer/data/fashiongrid
//
// The columns are those that the Hugging Face datasets library writes for an
// image classification set: image {bytes, path} and label. Training photos are
// the first 1,200 of every class, in the official order; test photos are all.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"

	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/data/fashiongrid"
)

const trainPerClass = 1200

func main() {
	from := flag.String("from", "/usr/share/datasets/fashion-mnist", "folder with the official idx files")
	to := flag.String("to", ".", "folder to write to")
	flag.Parse()
	if err := run(*from, *to); err != nil {
		fmt.Fprintln(os.Stderr, "photos:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	train, err := fashiongrid.ReadIDX(from, false)
	if err != nil {
		return err
	}
	test, err := fashiongrid.ReadIDX(from, true)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(to, "train.parquet"), firstOfEach(train, trainPerClass), "train"); err != nil {
		return err
	}
	return write(filepath.Join(to, "test.parquet"), test, "test")
}

func firstOfEach(photos []fashiongrid.Photo, n int) []fashiongrid.Photo {
	var taken [10]int
	var out []fashiongrid.Photo
	for _, p := range photos {
		if taken[p.Label] < n {
			taken[p.Label]++
			out = append(out, p)
		}
	}
	return out
}

func write(path string, photos []fashiongrid.Photo, split string) error {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "image", Type: arrow.StructOf(
			arrow.Field{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
			arrow.Field{Name: "path", Type: arrow.BinaryTypes.String, Nullable: true}), Nullable: true},
		{Name: "label", Type: arrow.PrimitiveTypes.Int64},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	images, labels := b.Field(0).(*array.StructBuilder), b.Field(1).(*array.Int64Builder)
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	for i, p := range photos {
		var content bytes.Buffer
		img := &image.Gray{Pix: p.Pixels[:], Stride: fashiongrid.Side, Rect: image.Rect(0, 0, fashiongrid.Side, fashiongrid.Side)}
		if err := encoder.Encode(&content, img); err != nil {
			return err
		}
		images.Append(true)
		images.FieldBuilder(0).(*array.BinaryBuilder).Append(content.Bytes())
		images.FieldBuilder(1).(*array.StringBuilder).Append(fmt.Sprintf("%s-%05d.png", split, i))
		labels.Append(int64(p.Label))
	}
	record := b.NewRecord()
	defer record.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(
		parquet.WithCompression(compress.Codecs.Zstd), parquet.WithDictionaryDefault(false)), pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	if err := w.Write(record); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return durable.WriteFile(path, out.Bytes())
}
