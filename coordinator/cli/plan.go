package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/shard"
)

func (a *App) planCommand() *cobra.Command {
	var p Placement
	var r RunFlags
	form := Table
	cmd := &cobra.Command{
		Use:   "plan FILE",
		Short: "Show where a job would run and why, without running it; - reads standard input",
		Args:  Exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.settle(cmd); err != nil {
				return err
			}
			_, spec, err := readJob(cmd, args[0])
			if err != nil {
				return err
			}
			return a.onCluster(cmd, &p, &r, "", patienceOfACall, func(ctx context.Context, c *client.Client) error {
				reply, err := c.Plan(ctx, p.request(spec))
				if err != nil {
					return err
				}
				return printer{cmd.OutOrStdout(), form}.print(reply, func(w io.Writer) { planTable(w, reply) })
			})
		},
	}
	p.register(cmd)
	r.registerDevice(cmd)
	registerForm(cmd, &form)
	return cmd
}

// planTable writes who holds what, and why.
func planTable(w io.Writer, p api.PlanReply) {
	names := namingOf(ranksOf(p.Plan))
	rows := make([]table.Row, len(p.Plan.Nodes))
	for i, node := range p.Plan.Nodes {
		var roles, layers, micro []string
		for _, s := range p.Plan.Stages {
			replica := slices.Index(s.Workers, i)
			if replica < 0 {
				continue
			}
			roles = append(roles, names.of(api.Rank{Role: s.Tower, Stage: s.Index, Replica: replica}))
			layers = append(layers, blocks(s.Lo, s.Hi))
			micro = append(micro, owned(s.Owners, i))
		}
		inFlight, needs, free := "", "", ""
		if i < len(p.Plan.InFlight) {
			inFlight = fmt.Sprint(p.Plan.InFlight[i])
		}
		if i < len(p.Memory) {
			needs, free = shard.Bytes(p.Memory[i].Needs), shard.Bytes(p.Memory[i].Free)
		}
		rows[i] = table.Row{i, node, lines(roles), lines(layers), lines(micro), inFlight, needs, free}
	}
	grid(w, table.Row{"worker", "node", "role", "layers", "microbatches", "in flight", "needs", "free"}, rows, 1, 6, 7, 8)
	fmt.Fprintf(w, "step      %s by the cost model, %d microbatches\n", shard.Seconds(p.StepSeconds), p.Plan.Microbatches)
	for _, l := range p.Explanation {
		fmt.Fprintf(w, "- %s\n", l)
	}
}

// blocks words the blocks [lo, hi) of a tower.
func blocks(lo, hi int) string {
	if hi <= lo {
		return "none"
	}
	return fmt.Sprintf("%d–%d", lo, hi-1)
}

// owned words the microbatches that a worker computes: "0–3, 6".
func owned(owners []int, worker int) string {
	var parts []string
	for lo := 0; lo < len(owners); lo++ {
		if owners[lo] != worker {
			continue
		}
		hi := lo
		for hi+1 < len(owners) && owners[hi+1] == worker {
			hi++
		}
		if hi > lo {
			parts = append(parts, fmt.Sprintf("%d–%d", lo, hi))
		} else {
			parts = append(parts, fmt.Sprint(lo))
		}
		lo = hi
	}
	return strings.Join(parts, ", ")
}
