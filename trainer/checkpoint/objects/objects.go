package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ressa/coordinator/api"
)

// ErrRefused is returned when a store answers that it does not have the bucket or
// does not take the credentials: the same call has the same end.
var ErrRefused = errors.New("refused")

// Info is an object as a store lists it.
type Info struct {
	Name     string
	Size     int64
	Modified time.Time // by the store's clock
}

// Store is what the stores of this package do. Names are slash-separated; a folder
// is what comes before the last slash.
type Store interface {
	Put(ctx context.Context, name string, body *io.SectionReader) error
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	List(ctx context.Context, folder string) ([]Info, error)
	Delete(ctx context.Context, name string) error // nil where there is none
	Close() error
}

// Open returns the store that a job names. It dials nobody.
func Open(ctx context.Context, s api.CheckpointStore) (Store, error) {
	switch s.Scheme {
	case "file":
		return Directory{s.Dir}, nil
	case "s3":
		return openS3(ctx, s)
	case "nats":
		return openJetStream(s)
	}
	return nil, fmt.Errorf("no store %q", s.Scheme)
}
