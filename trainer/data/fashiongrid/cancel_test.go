package fashiongrid_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"ressa/trainer/data/fashiongrid"
)

// A read that is cancelled at any moment ends with the context's error, not with the
// process.
func TestReadIsCancelled(t *testing.T) {
	began := time.Now()
	if _, err := fashiongrid.Shipped(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	cancelled := 0
	for i := range 20 {
		ctx, cancel := context.WithTimeout(context.Background(), whole*time.Duration(i)/20)
		if _, err := fashiongrid.Shipped(ctx, true); err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want that of the context", err)
			}
			cancelled++
		}
		cancel()
	}
	if cancelled == 0 {
		t.Error("no read was cancelled")
	}
}
