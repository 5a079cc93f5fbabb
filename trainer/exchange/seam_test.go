package exchange_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ressa/collective/group"
	"ressa/collective/plane"
	"ressa/kernels"
	"ressa/trainer/exchange"
	"ressa/trainer/step"
)

// This file runs one step of a model with its nodes spread over processes, which
// talk over a real NATS server, and compares every gradient with that of one
// process, bit for bit.

// rankEnv holds the plan of a process that is one rank; it runs instead of the
// tests.
const rankEnv = "RESSA_TEST_RANK"

const timeout = 60 * time.Second

// plan is what a rank's process is told.
type plan struct {
	URL   string
	Scene string
	Wire  kernels.DType
	Ranks []int // by node
	Rank  int
	World int
}

// outcome is what a process computed: the SHA-256 of each local node's summed
// gradient, and the losses.
type outcome struct {
	Gradients map[string]string
	Losses    step.Losses
}

func TestMain(m *testing.M) {
	if raw := os.Getenv(rankEnv); raw != "" {
		if err := runRank(raw); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runRank is the main function of a rank's process.
func runRank(raw string) error {
	var p plan
	if err := json.Unmarshal([]byte(raw), &p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := nats.Connect(p.URL)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := group.DefaultConfig()
	c.Job, c.Generation, c.Rank, c.World, c.Listen = "seam", 1, p.Rank, p.World, plane.Wrap(conn)
	c.ChunkBytes = 256 // so that even these edges need many chunks
	c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	g, err := group.Join(ctx, c)
	if err != nil {
		return err
	}
	defer g.Close()
	x, err := exchange.New(exchange.Config{Group: g, Rank: func(node, _ int) int { return p.Ranks[node] }, Wire: p.Wire, Timeout: timeout})
	if err != nil {
		return err
	}
	local := make([]bool, len(p.Ranks))
	for node := range local {
		local[node] = x.Owns(node, 0)
	}
	result, err := runStep(ctx, p.Scene, p.Wire, local, x)
	if err != nil {
		g.Abort(err)
		return fmt.Errorf("rank %d: %w", p.Rank, err)
	}
	if err := g.Barrier(ctx); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// spread runs a scene in one process per rank and returns their joined outcome.
func spread(t *testing.T, url, scene string, wire kernels.DType, ranks []int) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	world := slices.Max(ranks) + 1
	type process struct {
		*exec.Cmd
		stdout, stderr bytes.Buffer
	}
	processes := make([]*process, world)
	for r := range processes {
		raw, err := json.Marshal(plan{URL: url, Scene: scene, Wire: wire, Ranks: ranks, Rank: r, World: world})
		if err != nil {
			t.Fatal(err)
		}
		p := &process{Cmd: exec.CommandContext(ctx, os.Args[0])}
		p.Env = append(os.Environ(), rankEnv+"="+string(raw))
		p.Stdout, p.Stderr = &p.stdout, &p.stderr
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		processes[r] = p
	}
	total := outcome{Gradients: map[string]string{}}
	for r, p := range processes {
		if err := p.Wait(); err != nil {
			t.Errorf("rank %d: %v\n%s", r, err, p.stderr.String())
			continue
		}
		var part outcome
		if err := json.Unmarshal(p.stdout.Bytes(), &part); err != nil {
			t.Errorf("rank %d printed %q: %v", r, p.stdout.String(), err)
		}
		maps.Copy(total.Gradients, part.Gradients)
		total.Losses = total.Losses.Add(part.Losses)
	}
	return total
}

func startServer(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return s.ClientURL()
}

func TestProcessesGiveTheBitsOfOne(t *testing.T) {
	url := startServer(t)
	for _, c := range []struct {
		scene string
		ranks [][]int
	}{
		{"llava", [][]int{{0, 1}}},
		// The decoder's stages together, apart, and taking turns: the encoder always
		// adds their gradients in the order of the graph.
		{"encoder-decoder", [][]int{{0, 1, 1, 1}, {0, 1, 2, 3}, {0, 1, 2, 1}, {1, 0, 1, 0}}},
	} {
		for _, wire := range []kernels.DType{kernels.F32, kernels.BF16} {
			want, err := runStep(t.Context(), c.scene, wire, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, ranks := range c.ranks {
				t.Run(fmt.Sprintf("%s %v %v", c.scene, wire, ranks), func(t *testing.T) {
					got := spread(t, url, c.scene, wire, ranks)
					if !maps.Equal(got.Gradients, want.Gradients) || got.Losses != want.Losses {
						t.Errorf("processes: %+v\none process: %+v", got, want)
					}
				})
			}
		}
	}
}

// TestSceneIsSensitive makes sure that equal hashes above mean something: the wire
// dtype shows in every gradient, and gradients are not zero.
func TestSceneIsSensitive(t *testing.T) {
	for _, scene := range []string{"llava", "encoder-decoder"} {
		exact, err1 := runStep(t.Context(), scene, kernels.F32, nil, nil)
		rounded, err2 := runStep(t.Context(), scene, kernels.BF16, nil, nil)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for node, hash := range exact.Gradients {
			if rounded.Gradients[node] == hash {
				t.Errorf("%s: the wire dtype does not show in the gradient of %s", scene, node)
			}
			if other, ok := seen[hash]; ok {
				t.Errorf("%s: %s and %s have the same gradient", scene, node, other)
			}
			seen[hash] = node
		}
	}
}
