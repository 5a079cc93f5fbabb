package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/jaeger"
)

// tracing are the settings of the verb that shows a step.
type tracing struct {
	remote
	step, generation int
	jaeger           string
}

func (a *App) traceCommand() *cobra.Command {
	var t tracing
	form := Table
	cmd := &cobra.Command{
		Use:   "trace JOB|DIR",
		Short: "Show what every rank did in a step, and which chain of work decided how long it took",
		Long: "Shows a step of a job as a waterfall: a bar for each span, by node; the critical path\n" +
			"is marked with a star. The spans come from the memory of the job's nodes, which\n" +
			"keep their last steps, or with --jaeger from a collector. A run of one process\n" +
			"keeps its last steps in its folder. With a coordinator set, an argument without a\n" +
			"slash is a job; ./DIR is a folder always.",
		Example: "  ressa trace b7c1 --step 12 --coordinator http://127.0.0.1:7400\n  ressa trace ressa-output/demo",
		Args:    Exactly("JOB|DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := (api.TraceRequest{Step: t.step, Generation: t.generation}).Check(); err != nil {
				return api.Invalid(fmt.Errorf("--%w", err))
			}
			x, err := t.find(cmd.Context(), a.Launcher, args[0])
			if err != nil {
				return err
			}
			for _, m := range x.Missing {
				fmt.Fprintf(cmd.ErrOrStderr(), "the spans of node %s are missing: %s\n", m.Node, m.Reason)
			}
			show := printer{cmd.OutOrStdout(), form}
			return show.print(x, func(w io.Writer) { drawing{width: a.width(w), colour: isTerminal(w)}.trace(w, x) })
		},
	}
	t.register(cmd)
	f := cmd.Flags()
	f.IntVar(&t.step, "step", 0, "which step, from 1; 0 is the newest that is over")
	f.IntVar(&t.generation, "generation", 0, "of which generation; 0 is the newest that made the step")
	f.StringVar(&t.jaeger, "jaeger", "", "URL of a Jaeger to read the trace from, http://HOST:16686; empty asks the nodes")
	registerForm(cmd, &form)
	return a.completeFrom(cmd, jobNames(anyJob), true)
}

// find returns the trace that was asked for, from where it is.
func (t *tracing) find(ctx context.Context, l Launcher, arg string) (api.Trace, error) {
	switch {
	case folderNamed(arg) || t.List == "" && t.jaeger == "":
		if t.generation != 0 {
			return api.Trace{}, api.Invalid(errors.New("--generation: a run in a folder has none"))
		}
		x, err := l.Trace(arg, t.step)
		return x, api.Invalid(err)
	case t.jaeger != "":
		return t.collected(ctx, arg)
	}
	c, err := t.client(patienceOfACall)
	if err != nil {
		return api.Trace{}, err
	}
	defer c.Close()
	return c.Trace(ctx, arg, t.generation, t.step)
}

// collected reads the trace from Jaeger. Without a coordinator the job, its generation
// and the step have to be named: the trace's ID follows from them.
func (t *tracing) collected(ctx context.Context, job string) (api.Trace, error) {
	j, err := jaeger.New(t.jaeger)
	if err != nil {
		return api.Trace{}, api.Invalid(fmt.Errorf("--jaeger: %w", err))
	}
	generation, step := t.generation, t.step
	if t.List != "" {
		c, err := t.client(patienceOfACall)
		if err != nil {
			return api.Trace{}, err
		}
		defer c.Close()
		r, err := c.Job(ctx, job)
		if err != nil {
			return api.Trace{}, err
		}
		job = r.ID
		if generation == 0 {
			generation = r.Status.Generation
		}
		if step == 0 {
			step = r.Status.Step
		}
	}
	if generation == 0 || step == 0 {
		return api.Trace{}, api.Invalid(errors.New("--step, --generation: want both where --jaeger is set and no coordinator, or a job that has made a step"))
	}
	return j.Step(ctx, job, generation, step)
}
