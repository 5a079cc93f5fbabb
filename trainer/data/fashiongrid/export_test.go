package fashiongrid_test

import (
	"path/filepath"
	"reflect"
	"testing"

	"ressa/trainer/data"
	"ressa/trainer/data/conversation"
	"ressa/trainer/data/fashiongrid"
	"ressa/trainer/data/parquet"
)

// The grids come back from both file formats as they were written, so a job on
// exported data sees what a job on the grids sees.
func TestExportAndReadBack(t *testing.T) {
	photos, err := fashiongrid.Shipped(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	set, err := fashiongrid.New(photos, fashiongrid.Train, 7, 130)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := conversation.Write(t.Context(), folder, set); err != nil {
		t.Fatal(err)
	}
	list, err := conversation.Open(t.Context(), filepath.Join(folder, conversation.FileName), filepath.Join(folder, conversation.ImageFolder))
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	file := filepath.Join(folder, "grids.parquet")
	if err := parquet.Write(t.Context(), file, set); err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.Open(t.Context(), file, "")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for name, back := range map[string]data.Dataset{"conversation": list, "parquet": rows} {
		if back.Len() != set.Len() {
			t.Fatalf("%s: %d examples, want %d", name, back.Len(), set.Len())
		}
		for i := range set.Len() {
			compare(t, name, set, back, i)
		}
	}
}

func compare(t *testing.T, name string, set, back data.Dataset, i int) {
	t.Helper()
	want, err := set.Example(i)
	if err != nil {
		t.Fatal(err)
	}
	got, err := back.Example(i)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != want.ID || !reflect.DeepEqual(got.Turns, want.Turns) || len(got.Images) != 1 {
		t.Fatalf("%s: example %d is %+v, want %+v", name, i, got, want)
	}
	a, err := want.Images[0].Decode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := got.Images[0].Decode()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("%s: the image of example %d changed", name, i)
	}
}
