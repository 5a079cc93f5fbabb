package team

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// tradeBytes is about how much of what is traded travels in one message.
const tradeBytes = 64 << 20

// Stock is what a worker has to give in [Team.Trade], by name.
type Stock interface {
	// Names lists what there is.
	Names() []string
	// Size returns the number of bytes of a name that is listed.
	Size(name string) int
	// Read returns the bytes of a name that is listed; they are not changed.
	Read(name string) ([]byte, error)
}

// Bytes are a stock in memory.
type Bytes map[string][]byte

// Names implements [Stock].
func (b Bytes) Names() []string {
	out := make([]string, 0, len(b))
	for name := range b {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Size implements [Stock].
func (b Bytes) Size(name string) int { return len(b[name]) }

// Read implements [Stock].
func (b Bytes) Read(name string) ([]byte, error) { return b[name], nil }

// declared is what a worker has, with its sizes, and what it needs.
type declared struct {
	Have  []string
	Sizes []int
	Need  []string
}

// parcel is what one worker sends another in one message.
type parcel struct {
	from, to int
	names    []string
}

// Trade gives every worker what it needs of what any of them has: its own where it
// has it, else that of the lowest worker who does. What several have must be the
// same. missing names what somebody needs and nobody has, equal on all workers; then
// nothing was moved. It moves what is asked for and nothing else, a message of at
// most about 64 MiB at a time between two workers.
func (t *Team) Trade(ctx context.Context, what string, have Stock, need []string) (got map[string][]byte, missing []string, err error) {
	mine := declared{Have: have.Names(), Need: need}
	for _, name := range mine.Have {
		mine.Sizes = append(mine.Sizes, have.Size(name))
	}
	var said bytes.Buffer
	if err := gob.NewEncoder(&said).Encode(mine); err != nil {
		return nil, nil, err
	}
	raw, err := t.Gather(ctx, what, said.Bytes())
	if err != nil {
		return nil, nil, err
	}
	all := make([]declared, len(raw))
	for w := range raw {
		if err := gob.NewDecoder(bytes.NewReader(raw[w])).Decode(&all[w]); err != nil {
			return nil, nil, fmt.Errorf("%s: worker %d: %w", what, w, err)
		}
		if len(all[w].Have) != len(all[w].Sizes) {
			return nil, nil, fmt.Errorf("%s: worker %d has %d names and %d sizes", what, w, len(all[w].Have), len(all[w].Sizes))
		}
	}
	parcels, missing := dispatch(all)
	if len(missing) > 0 {
		return nil, missing, nil
	}
	got = make(map[string][]byte, len(need))
	for _, name := range need {
		if slices.Contains(mine.Have, name) {
			if got[name], err = have.Read(name); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", what, err)
			}
		}
	}
	return got, nil, t.deliver(ctx, what, parcels, have, got)
}

// dispatch decides who sends what to whom.
func dispatch(all []declared) (parcels []parcel, missing []string) {
	type source struct{ worker, size int }
	where := map[string]source{}
	own := make([]map[string]bool, len(all))
	for w, d := range all {
		own[w] = map[string]bool{}
		for i, name := range d.Have {
			own[w][name] = true
			if _, known := where[name]; !known {
				where[name] = source{w, d.Sizes[i]}
			}
		}
	}
	for to, d := range all {
		open, size := map[int]int{}, map[int]int{} // index of the parcel that is being filled, by sender
		for _, name := range slices.Compact(slices.Sorted(slices.Values(d.Need))) {
			if own[to][name] {
				continue
			}
			s, ok := where[name]
			if !ok {
				missing = append(missing, name)
				continue
			}
			i, filling := open[s.worker]
			if !filling || size[s.worker]+s.size > tradeBytes {
				i, size[s.worker] = len(parcels), 0
				open[s.worker] = i
				parcels = append(parcels, parcel{from: s.worker, to: to})
			}
			parcels[i].names = append(parcels[i].names, name)
			size[s.worker] += s.size
		}
	}
	slices.Sort(missing)
	return parcels, slices.Compact(missing)
}

// deliver sends this worker's parcels and receives those to it.
func (t *Team) deliver(ctx context.Context, what string, parcels []parcel, have Stock, got map[string][]byte) error {
	tag := t.tag(what)
	ctx, cancel := t.bound(ctx)
	defer cancel()
	sends, ctx := errgroup.WithContext(ctx)
	sends.Go(func() error { // one after the other: memory holds one parcel
		for i, p := range parcels {
			if p.from != t.worker {
				continue
			}
			load := make(map[string][]byte, len(p.names))
			for _, name := range p.names {
				var err error
				if load[name], err = have.Read(name); err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
			}
			var b bytes.Buffer
			if err := gob.NewEncoder(&b).Encode(load); err != nil {
				return err
			}
			if err := t.config.Group.Send(ctx, p.to, fmt.Sprintf("%s parcel %d", tag, i), b.Bytes()); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		return nil
	})
	sends.Go(func() error {
		for i, p := range parcels {
			if p.to != t.worker {
				continue
			}
			raw, err := t.config.Group.Recv(ctx, p.from, fmt.Sprintf("%s parcel %d", tag, i))
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			load := map[string][]byte{}
			if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&load); err != nil {
				return fmt.Errorf("%s: worker %d: %w", what, p.from, err)
			}
			for _, name := range p.names {
				b, ok := load[name]
				if !ok {
					return fmt.Errorf("%s: worker %d sent no %q", what, p.from, name)
				}
				got[name] = b
			}
		}
		return nil
	})
	return sends.Wait()
}
