package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"ressa/collective/allreduce"
	"ressa/collective/link"
)

// timeout bounds everything that a worker does between two messages of its own.
const timeout = 2 * time.Minute

// address is what a worker says first; it is answered with those of all.
type address struct {
	URLs []string `json:"urls"`
	TCP  string   `json:"tcp"`
}

// report is what a worker says then: rows from rank 0, and how it ended.
type report struct {
	Row   *Row              `json:"row,omitempty"`
	Reach map[string]string `json:"reach,omitempty"`
	Error string            `json:"error,omitempty"`
	Done  bool              `json:"done,omitempty"`
}

// Worker is one rank: it reads its plan from in and reports to out, JSON objects both
// ways.
func Worker(ctx context.Context, in io.Reader, out io.Writer) error {
	decode, encode := json.NewDecoder(in), json.NewEncoder(out)
	err := work(ctx, decode, encode)
	end := report{Done: true}
	if err != nil {
		end.Error = err.Error()
	}
	return errors.Join(err, encode.Encode(end))
}

func work(ctx context.Context, in *json.Decoder, out *json.Encoder) (err error) {
	var p Plan
	if err := in.Decode(&p); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if err := p.Check(); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	node, err := link.Open(link.Options{Addr: "127.0.0.1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer node.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	if err := out.Encode(address{node.URLs(), l.Addr().String()}); err != nil {
		return err
	}
	var all []address
	if err := in.Decode(&all); err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	if len(all) != p.World {
		return fmt.Errorf("%d addresses for %d ranks", len(all), p.World)
	}
	m := &meter{plan: p}
	join, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	peers, addresses := make([]link.Peer, p.World), make([]string, p.World)
	for r, a := range all {
		peers[r], addresses[r] = link.Peer{Node: fmt.Sprintf("rank %d", r), URLs: a.URLs}, a.TCP
	}
	if m.session, err = node.Join(join, link.Membership{Job: "bench", Generation: 1, Rank: p.Rank, Peers: peers}); err != nil {
		return err
	}
	defer m.session.Close()
	if m.reducer, err = allreduce.New(m.session, allreduce.DefaultOptions()); err != nil {
		return err
	}
	if m.ring, err = openRing(&p, l, addresses); err != nil {
		return err
	}
	defer m.ring.close()
	if p.Rank == 0 {
		if err := out.Encode(report{Reach: m.session.Reach()}); err != nil {
			return err
		}
	}
	for _, size := range p.Sizes {
		rows, err := m.measure(ctx, size)
		if err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
		for i := range rows {
			if p.Rank == 0 {
				if err := out.Encode(report{Row: &rows[i]}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
