package conversation

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"ressa/trainer/data"
)

// Names of the files that [Write] makes in its folder.
const (
	FileName    = "conversations.json"
	ImageFolder = "images"
)

// Write writes a data set as conversations.json and images/*.png to folder, which
// is made if need be. The JSON file appears last and only when it is complete.
func Write(ctx context.Context, folder string, set data.Dataset) (err error) {
	if err := os.MkdirAll(filepath.Join(folder, ImageFolder), 0o755); err != nil {
		return fmt.Errorf("write conversations: %w", err)
	}
	file, err := renameio.NewPendingFile(filepath.Join(folder, FileName), renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("write conversations: %w", err)
	}
	defer file.Cleanup()
	w := bufio.NewWriter(file)
	for i := range set.Len() {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := writeExample(folder, set, i)
		if err != nil {
			return fmt.Errorf("write conversations: example %d: %w", i, err)
		}
		separator := ",\n"
		if i == 0 {
			separator = "[\n"
		}
		raw, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write conversations: example %d: %w", i, err)
		}
		if _, err := w.WriteString(separator + string(raw)); err != nil {
			return fmt.Errorf("write conversations: %w", err)
		}
	}
	if set.Len() == 0 {
		return fmt.Errorf("write conversations: the data set is empty")
	}
	if _, err := w.WriteString("\n]\n"); err != nil {
		return fmt.Errorf("write conversations: %w", err)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write conversations: %w", err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write conversations: %w", err)
	}
	return nil
}

// writeExample writes the images of an example and returns its entry. Images are
// named by the example's index, 1,000 to a folder.
func writeExample(folder string, set data.Dataset, i int) (entry, error) {
	x, err := set.Example(i)
	if err != nil {
		return entry{}, err
	}
	e := entry{ID: identifier(x.ID)}
	for _, t := range x.Turns {
		from := "human"
		if t.Role == data.Assistant {
			from = "gpt"
		}
		e.Turns = append(e.Turns, turn{from, t.Text})
	}
	for j, p := range x.Images {
		img, err := p.Decode()
		if err != nil {
			return entry{}, err
		}
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			return entry{}, err
		}
		name := fmt.Sprintf("%03d/%06d-%d.png", i/1000, i, j)
		path := filepath.Join(folder, ImageFolder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return entry{}, err
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			return entry{}, err
		}
		e.Image = append(e.Image, name)
	}
	return e, nil
}

// MarshalJSON writes a single path as a string, as LLaVA's own files have it.
func (p paths) MarshalJSON() ([]byte, error) {
	if len(p) == 1 {
		return json.Marshal(p[0])
	}
	return json.Marshal([]string(p))
}
