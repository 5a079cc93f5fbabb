package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// Process is a rank's process as its parent sees it: what it reads, what it writes.
type Process struct {
	In  io.WriteCloser
	Out io.Reader
}

// Result is what a group of ranks measured.
type Result struct {
	Rows  []Row             `json:"rows"`
	Reach map[string]string `json:"reach"` // how rank 0 reaches the others
}

// Run gives each process its rank in the plan and returns what they measured. row is
// called for each row as it comes.
func Run(ctx context.Context, p Plan, processes []Process, row func(Row)) (Result, error) {
	p.World = len(processes)
	if err := p.Check(); err != nil {
		return Result{}, err
	}
	defer func() {
		for _, x := range processes {
			_ = x.In.Close() // ends whoever still waits
		}
	}()
	all := make([]address, len(processes))
	decoders := make([]*json.Decoder, len(processes))
	for r, x := range processes {
		p.Rank = r
		if err := json.NewEncoder(x.In).Encode(p); err != nil {
			return Result{}, fmt.Errorf("rank %d: %w", r, err)
		}
		decoders[r] = json.NewDecoder(x.Out)
	}
	for r, d := range decoders {
		if err := d.Decode(&all[r]); err != nil {
			return Result{}, fmt.Errorf("rank %d says no address: %w", r, err)
		}
	}
	for r, x := range processes {
		if err := json.NewEncoder(x.In).Encode(all); err != nil {
			return Result{}, fmt.Errorf("rank %d: %w", r, err)
		}
	}
	var result Result
	group, ctx := errgroup.WithContext(ctx)
	for r, d := range decoders {
		group.Go(func() error {
			for ctx.Err() == nil {
				var s report
				if err := d.Decode(&s); err != nil {
					return fmt.Errorf("rank %d ended without a word: %w", r, err)
				}
				switch {
				case s.Error != "":
					return fmt.Errorf("rank %d: %w", r, errors.New(s.Error))
				case s.Done:
					return nil
				case s.Reach != nil:
					result.Reach = s.Reach
				case s.Row != nil:
					result.Rows = append(result.Rows, *s.Row)
					row(*s.Row)
				}
			}
			return ctx.Err()
		})
	}
	return result, group.Wait()
}
