package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"ressa/collective/bench"
	"ressa/coordinator/api"
)

// collectiveReport is what `ressa bench collective -o json` prints.
type collectiveReport struct {
	Processors int               `json:"processors"`
	Reach      map[string]string `json:"reach"` // how rank 0 reached the others
	Rows       []collectiveRow   `json:"rows"`
	Floor      []string          `json:"floor"`
}

// collectiveRow is one kind of exchange at one size. Rates count the fp32 bytes of the
// vector once, whatever travels.
type collectiveRow struct {
	Kind    string  `json:"kind"`
	Ranks   int     `json:"ranks"`
	Bytes   int     `json:"bytes"`
	Seconds float64 `json:"seconds"` // median
	Rate    float64 `json:"gb_per_s"`
	// Ratio is the time of plain TCP divided by this time, median over the turns.
	Ratio  float64 `json:"ratio,omitempty"`
	Spread float64 `json:"spread"` // distance of the quartiles in parts of the median
	Link   int     `json:"bytes_per_link"`
}

// collectiveFloor says what the figures cannot get below.
var collectiveFloor = [...]string{
	"all-reduce: every rank sends and receives 2·(R−1)/R of what travels, by the ring and by direct exchange alike: 4 B an element in fp32, 2 B in bf16, half of them with the mask",
	"copies of a byte, plain TCP: user memory to kernel, kernel to user memory",
	"copies of a byte here: into one message; through the in-process pipe to the read buffer of the sender's NATS server; to that server's send buffer; to the kernel; from the kernel to where it belongs; and one CRC-32C on each side",
	"an activation is also written once to an Arrow message and has a second CRC-32C on each side; the reader decodes it in place",
}

func benchCollective() *cobra.Command {
	var m machine
	var ranks []int
	var sizes, kinds []string
	var turns int
	var worker bool
	cmd := &cobra.Command{
		Use:   "collective",
		Short: "Time all-reduce and activation transfer beside plain TCP, one process a rank",
		Long: "Starts one process a rank on this machine. They sum a gradient by a plain TCP ring and\n" +
			"over the message plane in turns: in fp32, with a bf16 wire, and with a mask that keeps\n" +
			"every second position. Rank 0 also sends activations to rank 1, as plain bytes and as\n" +
			"an Arrow message. Times are medians over the turns, until the last rank is done; a\n" +
			"ratio is plain TCP's time divided by ours, the median over the turns. Sums are checked.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if worker {
				return bench.Worker(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
			}
			if err := m.check(); err != nil {
				return err
			}
			p := bench.Plan{Turns: turns, Kinds: kinds}
			var err error
			if p.Sizes, err = parseSizes(sizes); err != nil {
				return api.Invalid(fmt.Errorf("--sizes: %w", err))
			}
			for _, n := range ranks {
				p.World = n
				if err := p.Check(); err != nil {
					return api.Invalid(err)
				}
			}
			r := &collectiveReport{Processors: processors(), Floor: collectiveFloor[:]}
			for _, n := range ranks {
				if err := r.measure(cmd.Context(), p, n, cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			return m.print(cmd.OutOrStdout(), r, r.table)
		},
	}
	cmd.Flags().IntSliceVar(&ranks, "ranks", []int{2, 4}, "numbers of processes, separated by commas")
	cmd.Flags().StringSliceVar(&sizes, "sizes", []string{"64KiB", "1MiB", "16MiB", "64MiB", "256MiB"}, "fp32 bytes of the vector, separated by commas")
	cmd.Flags().StringSliceVar(&kinds, "kinds", bench.Kinds(), "what to measure; tcp-ring and tcp are what ratios compare with")
	cmd.Flags().IntVar(&turns, "turns", 9, "measurements of each, of which the median counts")
	cmd.Flags().StringVarP(&m.form, "output-format", "o", "table", "table or json (one object)")
	cmd.Flags().BoolVar(&worker, "worker", false, "be one of the processes")
	if err := cmd.Flags().MarkHidden("worker"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// parseSizes reads numbers of bytes with the suffixes KiB and MiB.
func parseSizes(names []string) ([]int, error) {
	var out []int
	for _, name := range names {
		number, unit := strings.TrimSpace(name), 1
		for suffix, u := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20} {
			if rest, ok := strings.CutSuffix(number, suffix); ok {
				number, unit = rest, u
				break
			}
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > 1<<30/unit {
			return nil, fmt.Errorf("found %q, expected bytes, KiB or MiB up to 1024MiB", name)
		}
		out = append(out, n*unit)
	}
	return out, nil
}

// measure starts the ranks and adds what they measured.
func (r *collectiveReport) measure(ctx context.Context, p bench.Plan, ranks int, progress io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends whoever is left after an error
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var processes []bench.Process
	var commands []*exec.Cmd
	defer func() {
		if err != nil {
			cancel()
		}
		for i, c := range commands {
			if e := c.Wait(); e != nil && err == nil {
				err = fmt.Errorf("rank %d: %w", i, e)
			}
		}
	}()
	for range ranks {
		c := exec.CommandContext(ctx, self, "bench", "collective", "--worker")
		c.Stderr = progress
		in, err1 := c.StdinPipe()
		out, err2 := c.StdoutPipe()
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return fmt.Errorf("start a rank: %w", err)
		}
		commands = append(commands, c)
		processes = append(processes, bench.Process{In: in, Out: out})
	}
	result, err := bench.Run(ctx, p, processes, func(x bench.Row) {
		fmt.Fprintf(progress, "%d ranks, %s, %s: %.2f ms\n", x.World, sizeName(x.Size), x.Kind, x.Median()*1e3)
	})
	if err != nil {
		return err
	}
	r.Reach = result.Reach
	for _, x := range result.Rows {
		r.add(x, result.Rows)
	}
	return nil
}

func (r *collectiveReport) add(x bench.Row, all []bench.Row) {
	median := x.Median()
	row := collectiveRow{Kind: x.Kind, Ranks: x.World, Bytes: x.Size, Seconds: median, Rate: float64(x.Size) / median / 1e9, Spread: x.Spread()}
	base := bench.Ring
	row.Link = 2 * x.Size * (x.World - 1) / x.World
	switch x.Kind {
	case bench.Pipe, bench.Arrow:
		base, row.Link = bench.Pipe, x.Size
	case bench.BF16, bench.Masked:
		row.Link /= 2
	case bench.MaskedBF16:
		row.Link /= 4
	}
	i := slices.IndexFunc(all, func(y bench.Row) bool { return y.Kind == base && y.Size == x.Size })
	if i >= 0 && x.Kind != base {
		row.Ratio = x.Ratio(&all[i])
	}
	r.Rows = append(r.Rows, row)
}

// sizeName writes a number of bytes as --sizes takes it.
func sizeName(n int) string {
	switch {
	case n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return strconv.Itoa(n)
}

func (r *collectiveReport) table(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"ranks", "size", "exchange", "ms", "GB/s", "× TCP", "quartiles", "MiB a link"})
	configs := make([]table.ColumnConfig, 0, 7)
	for _, n := range []int{1, 2, 4, 5, 6, 7, 8} {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	for i, x := range r.Rows {
		if i > 0 && (x.Bytes != r.Rows[i-1].Bytes || x.Ranks != r.Rows[i-1].Ranks) {
			t.AppendSeparator()
		}
		ratio := "–"
		if x.Ratio > 0 {
			ratio = fmt.Sprintf("%.2f", x.Ratio)
		}
		t.AppendRow(table.Row{x.Ranks, sizeName(x.Bytes), x.Kind, fmt.Sprintf("%.2f", x.Seconds*1e3), fmt.Sprintf("%.2f", x.Rate), ratio,
			fmt.Sprintf("±%.0f %%", 50*x.Spread), fmt.Sprintf("%.2f", float64(x.Link)/(1<<20))})
	}
	t.Render()
	fmt.Fprintf(w, "%d processors; peers reached %v; GB/s counts the fp32 vector once; ratios above 1 are faster than plain TCP\nfloor:\n", r.Processors, r.Reach)
	for _, line := range r.Floor {
		fmt.Fprintln(w, " ", line)
	}
}
