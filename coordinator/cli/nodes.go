package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/shard"
)

func (a *App) nodesCommand() *cobra.Command {
	return a.ask("nodes", "List the nodes: what they compute on, what they do, how they are reached", Exactly(),
		func(ctx context.Context, c *client.Client, _ []string, show printer) error {
			nodes, err := c.Nodes(ctx)
			if err != nil {
				return err
			}
			return show.print(api.NodeList{Nodes: nodes}, func(w io.Writer) { nodeTable(w, nodes) })
		})
}

func (a *App) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Change how a node is used",
		Args:  Exactly(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.drainCommand())
	return cmd
}

func (a *App) drainCommand() *cobra.Command {
	var off bool
	cmd := a.ask("drain NAME", "Keep new jobs off a node; those that run there go on", Exactly("NAME"),
		func(ctx context.Context, c *client.Client, args []string, show printer) error {
			n, err := c.Drain(ctx, args[0], !off)
			if err != nil {
				return err
			}
			return show.print(n, func(w io.Writer) {
				fmt.Fprintf(w, "node %s is %s", n.Name, n.State)
				if len(n.Jobs) > 0 {
					fmt.Fprintf(w, "; still works on %s", strings.Join(n.Jobs, ", "))
				}
				fmt.Fprintln(w)
			})
		})
	cmd.Flags().BoolVar(&off, "off", false, "let new jobs on it again")
	return a.completeFrom(cmd, nodeNames, false)
}

func nodeTable(w io.Writer, nodes []api.NodeRecord) {
	rows := make([]table.Row, len(nodes))
	var notes []string
	for i, n := range nodes {
		var device, kind, speed, memory []string
		for _, d := range n.Devices {
			device, kind = append(device, d.Name), append(kind, d.Kind)
			speed, memory = append(speed, fmt.Sprintf("%.1f", d.Speed/1e9)), append(memory, shard.Bytes(d.Memory))
			if d.Note != "" {
				notes = append(notes, fmt.Sprintf("%s: %s: %s", n.Name, d.Name, d.Note))
			}
		}
		if n.Reason != "" {
			notes = append(notes, fmt.Sprintf("%s: %s: %s", n.Name, n.State, n.Reason))
		}
		notes = append(notes, findings(n)...)
		rows[i] = table.Row{n.Name, n.State, lines(device), lines(kind), lines(speed), lines(memory), n.Threads, strings.Join(n.Jobs, " "), heard(n), reach(n.Reach)}
	}
	grid(w, table.Row{"node", "state", "device", "kind", "Gflop/s", "memory", "threads", "job", "heard", "reach"}, rows, 5, 6, 7, 9)
	for _, n := range notes {
		fmt.Fprintln(w, n)
	}
}

// findings words what is wrong with the devices of a node's machine. What makes it
// unfit is its reason already.
func findings(n api.NodeRecord) []string {
	var out []string
	for _, f := range n.Health {
		switch {
		case f.Severity != api.Fatal:
			out = append(out, fmt.Sprintf("%s: warning: %s", n.Name, f.Reason))
		case f.Device == "":
			out = append(out, fmt.Sprintf("%s: warning: %s; it does not compute on it", n.Name, f.Reason))
		case n.State != api.NodeUnfit || f.Reason != n.Reason:
			out = append(out, fmt.Sprintf("%s: failed: %s: %s", n.Name, f.Device, f.Reason))
		}
	}
	return out
}

func lines(texts []string) string { return strings.Join(texts, "\n") }

// heard is how long ago a node's last beat was.
func heard(n api.NodeRecord) string {
	if n.State == api.NodeLeft || n.State == api.NodeLost && n.BeatAge == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f s", n.BeatAge)
}

// mostPeers is how many peers are named that are reached in the same way.
const mostPeers = 4

// reach words how the peers of a node are reached: "direct t1 t2, hub t3".
func reach(ways map[string]string) string {
	by := map[string][]string{}
	for _, peer := range slices.Sorted(maps.Keys(ways)) {
		by[ways[peer]] = append(by[ways[peer]], peer)
	}
	var parts []string
	for _, way := range slices.Sorted(maps.Keys(by)) {
		who := strings.Join(by[way], " ")
		if n := len(by[way]); n > mostPeers {
			who = fmt.Sprintf("%d nodes", n)
		}
		parts = append(parts, way+" "+who)
	}
	return strings.Join(parts, ", ")
}
