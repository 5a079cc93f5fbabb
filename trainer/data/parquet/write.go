package parquet

import (
	"bytes"
	"context"
	"fmt"
	"image/png"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/google/renameio/v2"

	"ressa/trainer/data"
)

// groupRows is the row group's size when writing; the datasets library writes as
// many rows of images.
const groupRows = 100

// features tells the datasets library that image is an image.
const features = `{"info": {"features": {"id": {"dtype": "string", "_type": "Value"}, "image": {"_type": "Image"}, ` +
	`"conversations": [{"from": {"dtype": "string", "_type": "Value"}, "value": {"dtype": "string", "_type": "Value"}}]}}}`

// written is the schema that [Write] writes.
func written() *arrow.Schema {
	text := arrow.BinaryTypes.String
	turn := arrow.StructOf(arrow.Field{Name: "from", Type: text, Nullable: true}, arrow.Field{Name: "value", Type: text, Nullable: true})
	picture := arrow.StructOf(arrow.Field{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
		arrow.Field{Name: "path", Type: text, Nullable: true})
	metadata := arrow.NewMetadata([]string{"huggingface"}, []string{features})
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: text, Nullable: true},
		{Name: "image", Type: picture, Nullable: true},
		{Name: "conversations", Type: arrow.ListOf(turn), Nullable: true},
	}, &metadata)
}

// Write writes a data set as one Parquet file with columns id, image and
// conversations, PNG-encoded. The file appears when it is complete. It fails on
// examples with more than one image and on an empty set.
func Write(ctx context.Context, path string, set data.Dataset) (err error) {
	if set.Len() == 0 {
		return fmt.Errorf("write parquet: the data set is empty")
	}
	pending, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("write parquet: %w", err)
	}
	defer pending.Cleanup()
	properties := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCreatedBy("ressa"),
		parquet.WithDictionaryFor("image.bytes", false), parquet.WithStats(false))
	w, err := pqarrow.NewFileWriter(written(), keepOpen{pending}, properties, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return fmt.Errorf("write parquet: %w", err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, written())
	defer b.Release()
	for i := range set.Len() {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, err := set.Example(i)
		if err == nil {
			err = appendRow(b, x)
		}
		if err != nil {
			return fmt.Errorf("write parquet: example %d: %w", i, err)
		}
		if i%groupRows == groupRows-1 || i == set.Len()-1 {
			record := b.NewRecord()
			err := w.Write(record)
			record.Release()
			if err != nil {
				return fmt.Errorf("write parquet: %w", err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write parquet: %w", err)
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write parquet: %w", err)
	}
	return nil
}

// keepOpen hides Close: the Parquet writer closes what it can, but the pending
// file is closed when it is put in place.
type keepOpen struct{ *renameio.PendingFile }

// Close does nothing.
func (keepOpen) Close() error { return nil }

func appendRow(b *array.RecordBuilder, x data.Example) error {
	b.Field(0).(*array.StringBuilder).Append(x.ID)
	image := b.Field(1).(*array.StructBuilder)
	switch len(x.Images) {
	case 0:
		image.AppendNull()
	case 1:
		img, err := x.Images[0].Decode()
		if err != nil {
			return err
		}
		var encoded bytes.Buffer
		if err := png.Encode(&encoded, img); err != nil {
			return err
		}
		image.Append(true)
		image.FieldBuilder(0).(*array.BinaryBuilder).Append(encoded.Bytes())
		image.FieldBuilder(1).(*array.StringBuilder).AppendNull()
	default:
		return fmt.Errorf("%d images, want at most one", len(x.Images))
	}
	list := b.Field(2).(*array.ListBuilder)
	list.Append(true)
	turn := list.ValueBuilder().(*array.StructBuilder)
	for _, t := range x.Turns {
		from := "human"
		if t.Role == data.Assistant {
			from = "gpt"
		}
		turn.Append(true)
		turn.FieldBuilder(0).(*array.StringBuilder).Append(from)
		turn.FieldBuilder(1).(*array.StringBuilder).Append(t.Text)
	}
	return nil
}
