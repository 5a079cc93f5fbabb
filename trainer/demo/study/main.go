// Command study measures the demo's repair: pattern × method × seed, each a job of
// its own, and writes the table of docs/results.md. Finished runs are kept in
// -runs and not repeated, so that it can be interrupted.
//
//	make study                    # or: go run ./trainer/demo/study
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"ressa/coordinator/api"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/cli"
)

type plan struct {
	runs, out string
	steps     int
	seeds     int // of the repair itself
	baseline  int // seeds of the methods it is compared with
	patterns  []string
	methods   []string
}

func main() {
	var p plan
	var patterns, methods string
	flag.StringVar(&p.runs, "runs", "build/study", "folder of the runs")
	flag.StringVar(&p.out, "out", "docs/results.md", "the page to write")
	flag.IntVar(&p.steps, "steps", 0, "training steps instead of the demo's own")
	flag.IntVar(&p.seeds, "seeds", 3, "seeds of each cell, from 42 on")
	flag.IntVar(&p.baseline, "baseline-seeds", 3, "seeds of the methods that it is compared with")
	flag.StringVar(&patterns, "patterns", "unstructured:0.5,4:8,2:4,unstructured:0.7", "patterns")
	flag.StringVar(&methods, "methods", "lora-remask,masked,sparselora", "what is trained")
	flag.Parse()
	p.patterns, p.methods = strings.Split(patterns, ","), strings.Split(methods, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := p.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "study:", err)
		os.Exit(1)
	}
}

// cell is one pattern and method over the seeds.
type cell struct {
	pattern, method string
	results         []api.Result
}

func (p plan) run(ctx context.Context) error {
	var cells []cell
	for _, pattern := range p.patterns {
		for _, method := range p.methods {
			c := cell{pattern: pattern, method: method}
			seeds := p.baseline
			if method == string(adapter.SparseLoRA) {
				seeds = p.seeds
			}
			for i := range seeds {
				r, err := p.one(ctx, pattern, method, 42+uint64(i))
				if err != nil {
					return fmt.Errorf("%s %s seed %d: %w", pattern, method, 42+i, err)
				}
				c.results = append(c.results, r)
			}
			cells = append(cells, c)
			fmt.Println(c.row())
		}
	}
	further, err := p.further(ctx)
	if err != nil {
		return err
	}
	return durable.WriteFile(p.out, []byte(p.page(cells)+further))
}

// further trains the dense model on for the budget of a repair: a model that is
// trained out gains next to nothing, so that a repair cannot be taken for training
// that was left undone.
func (p plan) further(ctx context.Context) (string, error) {
	text := "\n## The dense model is trained out\n\n" +
		"All its parameters trained on for the same steps and samples, without pruning and without a teacher, mean of the seeds:\n\n" +
		"| learning rate | before % | after % | gain |\n| --- | --- | --- | --- |\n"
	for _, rate := range []float64{1e-4, 3e-4, 1e-3} {
		var results []api.Result
		for i := range p.baseline {
			r, err := p.one(ctx, fmt.Sprintf("dense-%g", rate), string(full), 42+uint64(i))
			if err != nil {
				return "", fmt.Errorf("train on at %v, seed %d: %w", rate, 42+i, err)
			}
			results = append(results, r)
		}
		before, _ := spread(results, func(r api.Result) float64 { return r.Dense.Score })
		after, half := spread(results, func(r api.Result) float64 { return r.Repaired.Score })
		row := fmt.Sprintf("| %v | %.2f | %.2f ± %.2f | %+.2f |", rate, before, after, half, after-before)
		fmt.Println(row)
		text += row + "\n"
	}
	return text, nil
}

// full is the method that trains everything.
const full = adapter.Full

// one runs a job, or reads the result of a run that is finished.
func (p plan) one(ctx context.Context, pattern, method string, seed uint64) (api.Result, error) {
	dir := filepath.Join(p.runs, strings.NewReplacer(":", "-", ".", "").Replace(fmt.Sprintf("%s-%s-%d", pattern, method, seed)))
	if r, err := finished(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	j, err := p.job(pattern, method, seed)
	if err != nil {
		return api.Result{}, err
	}
	l := cli.Launch{Dir: dir, Device: "cpu", Replace: true, Emit: func(api.Event) {}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	return cli.Repair(ctx, j, l)
}

func finished(dir string) (api.Result, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		return api.Result{}, err
	}
	var r api.Result
	return r, json.Unmarshal(raw, &r)
}

// maskedRate is the learning rate of full-parameter training, the best of 3e-4,
// 1e-3 and 3e-3 for it; adapters take the demo's own.
const maskedRate = 1e-3

func (p plan) job(pattern, method string, seed uint64) (api.Job, error) {
	j, err := api.ParseJob("demo job", strings.NewReader(api.DemoJob()))
	if err != nil {
		return j, err
	}
	j.Seed, j.Adapter.Method = seed, method
	if method == string(full) {
		j.Prune.Method, j.Distill.Lambda, j.Evaluate.Blind = "none", 0, false
		_, err = fmt.Sscanf(pattern, "dense-%g", &j.Train.LR)
		if err != nil {
			return j, err
		}
	} else {
		j.Prune.Pattern = pattern
	}
	if p.steps > 0 {
		j.Train.Steps, j.Train.Warmup = p.steps, min(j.Train.Warmup, p.steps)
	}
	if method == "masked" {
		j.Train.LR = maskedRate
	}
	return j, j.Validate()
}

// spread is a mean over seeds with half its range.
func spread(results []api.Result, of func(api.Result) float64) (mean, half float64) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, r := range results {
		v := of(r)
		mean += v / float64(len(results))
		lo, hi = min(lo, v), max(hi, v)
	}
	return mean, (hi - lo) / 2
}

func (c cell) row() string {
	cols := []string{c.pattern, c.method, strconv.Itoa(len(c.results))}
	for _, of := range []func(api.Result) float64{
		func(r api.Result) float64 { return r.Dense.Score }, func(r api.Result) float64 { return r.Pruned.Score },
		func(r api.Result) float64 { return r.Repaired.Score }, func(r api.Result) float64 { return r.Blind.Score },
	} {
		mean, half := spread(c.results, of)
		cols = append(cols, fmt.Sprintf("%.2f ± %.2f", mean, half))
	}
	mean, half := spread(c.results, func(r api.Result) float64 { return *r.Recovery })
	return "| " + strings.Join(append(cols, fmt.Sprintf("%.3f ± %.3f", mean, half)), " | ") + " |"
}

func (p plan) page(cells []cell) string {
	var b bytes.Buffer
	first := cells[0].results[0]
	fmt.Fprintf(&b, "# Results of the demo\n\n"+
		"Made by `make study` (package trainer/demo/study), %d steps a run, on %s with %d threads. The dense model, the photos and\n"+
		"the %d test questions are those that Ressa ships; test photos are never trained on. Both towers are pruned with Wanda. ± is half the\n"+
		"range over seeds; the 95 %% interval of one score is about ± %.2f. Blind is the repaired model with the image zeroed.\n"+
		"Recovery = (repaired − pruned) / (dense − pruned).\n\n"+
		"| pattern | trained | seeds | dense %% | pruned %% | repaired %% | blind %% | recovery |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
		first.Steps, first.NumericKind, runtime.NumCPU(), first.Dense.Questions, (first.Dense.High-first.Dense.Low)/2)
	for _, c := range cells {
		fmt.Fprintln(&b, c.row())
	}
	fmt.Fprintf(&b, "\n`lora-remask` is LoRA on the pruned weights, masked only when it is merged; `masked` trains all kept weights (learning rate %v).\n"+
		"`sparselora` and `lora-remask` share rank, learning rate and everything else of the job that `ressa init` prints.\n", maskedRate)
	return b.String()
}
