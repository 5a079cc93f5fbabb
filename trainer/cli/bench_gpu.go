package cli

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/kernels"
	gpu "ressa/kernels/cuda/bench"
	"ressa/kernels/sparse"
	"ressa/trainer/bench"
)

// gpuChoice holds the flags of `ressa bench gpu`.
type gpuChoice struct {
	device, against, python, torch                             string
	suites, shapes, attention, loss, memory, patterns, compute []string
	tokens, ranks                                              []int
	turns, side                                                int
	turn, within                                               time.Duration
	quick                                                      bool
}

// quickly are the flags that --quick sets where they are not given: what fits some four
// minutes, compiling included.
var quickly = [...][2]string{
	{"tokens", "2048,8192"}, {"ranks", "16"}, {"shapes", "4096x4096"}, {"attention", "2048x32x128"}, {"turns", "5"}, {"within", "210s"},
}

func benchGPU() *cobra.Command {
	var m machine
	var g gpuChoice
	cmd := &cobra.Command{
		Use:   "gpu",
		Short: "Time the kernels on a GPU beside PyTorch on the same GPU",
		Long: "Times on one GPU, ours and PyTorch in turns and by the GPU's clock:\n\n" +
			"  layer      a SparseLoRA layer's step, forward, dA and dB, dX, beside the published form\n" +
			"             in PyTorch: W_eff = (W + s·B·A) ⊙ M materialised, F.linear, autograd through both\n" +
			"  attention  forward and backward beside F.scaled_dot_product_attention, causal and full\n" +
			"  loss       cross-entropy, KL and their gradient beside F.cross_entropy and F.kl_div\n" +
			"  memory     norms, SwiGLU and AdamW beside what memory can move\n\n" +
			"PyTorch runs eagerly and compiled (torch.compile), in bfloat16, the loss in float32; ours\n" +
			"with float32 and with bfloat16 products. Times are medians over the turns with quartiles;\n" +
			"a ratio is PyTorch's time divided by ours in the same turn. Before that, both sides\n" +
			"compute small cases on the same numbers, and must agree. The floor is the better of\n" +
			"both sides' product and copy, and the GPU's data sheet. The table is Markdown.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.check(); err != nil {
				return err
			}
			if g.quick {
				for _, q := range quickly {
					if !cmd.Flags().Changed(q[0]) {
						if err := cmd.Flags().Set(q[0], q[1]); err != nil {
							return err
						}
					}
				}
			}
			o, err := g.options()
			if err != nil {
				return api.Invalid(err)
			}
			o.Progress = func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), text) }
			r, err := bench.RunGPU(cmd.Context(), o)
			if r == nil {
				return err
			}
			return errors.Join(err, m.print(cmd.OutOrStdout(), r, func(w io.Writer) { gpuTables(w, r) }))
		},
	}
	f := cmd.Flags()
	f.StringVar(&g.device, "device", "cuda", "what computes: cuda or cuda:N")
	f.StringVar(&g.against, "against", "pytorch", "what to compare with: pytorch or none")
	f.StringVar(&g.python, "python", "python3", "with --against pytorch: the interpreter that has it")
	f.StringVar(&g.torch, "torch-device", "", "what PyTorch computes on; empty is the same GPU, cpu is for trying the benchmark without one")
	f.StringSliceVar(&g.suites, "suites", []string{gpu.Layer, gpu.Attention, gpu.Loss, gpu.Memory}, "what to measure")
	f.StringSliceVar(&g.shapes, "shapes", []string{"4096x4096", "11008x4096", "4096x11008"}, "layer: OUTxIN")
	f.IntSliceVar(&g.tokens, "tokens", []int{2048, 4096, 8192}, "layer: tokens")
	f.IntSliceVar(&g.ranks, "ranks", []int{16, 64}, "layer: ranks of the adapter")
	f.StringSliceVar(&g.patterns, "patterns", []string{"unstructured:0.5", "unstructured:0.7", "2:4"}, "layer: what the masks are like")
	f.StringSliceVar(&g.attention, "attention", []string{"2048x32x64", "2048x32x128", "8192x32x128"}, "attention: TOKENSxHEADSxDIMENSIONS")
	f.StringSliceVar(&g.loss, "loss", []string{"2048x32000", "2048x128256"}, "loss: TOKENSxVOCABULARY")
	f.StringSliceVar(&g.memory, "memory", []string{"8192x4096"}, "memory: TOKENSxWIDTH")
	f.StringSliceVar(&g.compute, "compute", []string{"fp32", "bf16"}, "of our products")
	f.IntVar(&g.turns, "turns", 9, "measurements of each form, of which the median counts")
	f.DurationVar(&g.turn, "turn", 50*time.Millisecond, "least duration of one measurement")
	f.DurationVar(&g.within, "within", 0, "begin no case after so long; those left out are named. 0 is never")
	f.IntVar(&g.side, "peak-side", 8192, "side of the product, and a quarter of the root of the copied numbers, that peaks are measured with")
	f.BoolVar(&g.quick, "quick", false, "fewer sizes and turns: about four minutes")
	f.StringVarP(&m.form, "output-format", "o", "table", "table or json (one object)")
	return cmd
}

// options returns what the flags ask for, or says which flag is wrong.
func (g *gpuChoice) options() (o bench.GPUOptions, err error) {
	device, err := api.ParseDevice(g.device)
	if err != nil || device.Auto || device.GPU < 0 {
		return o, fmt.Errorf("--device: found %q, want cuda or cuda:N", g.device)
	}
	o = bench.GPUOptions{Device: device.GPU, Turns: g.turns, Turn: g.turn, Within: g.within, Side: g.side, Numbers: 4 * g.side * g.side, Torch: g.torch}
	switch {
	case g.against == "none":
	case g.against != "pytorch":
		return o, fmt.Errorf("--against: found %q, want pytorch or none", g.against)
	default:
		if o.Python, err = exec.LookPath(g.python); err != nil {
			return o, fmt.Errorf("--python: %w; --against none measures ours alone", err)
		}
	}
	if o.Torch == "" {
		o.Torch = fmt.Sprintf("cuda:%d", o.Device)
	}
	for _, n := range []struct {
		flag     string
		of, most int
	}{{"--turns", g.turns, 1 << 10}, {"--peak-side", g.side, 1 << 14}, {"--turn", int(g.turn / time.Microsecond), 1e8}, {"--within", int(g.within/time.Microsecond) + 1, 1e12}} {
		if n.of < 1 || n.of > n.most {
			return o, fmt.Errorf("%s: found a value that is negative, zero or far too large", n.flag)
		}
	}
	for _, text := range g.compute {
		d, ok := map[string]kernels.DType{"fp32": kernels.F32, "bf16": kernels.BF16}[text]
		if !ok {
			return o, fmt.Errorf("--compute: found %q, want fp32 or bf16", text)
		}
		o.Computes = append(o.Computes, d)
	}
	for _, text := range g.patterns {
		p, err := sparse.ParsePattern(text)
		if err != nil {
			return o, fmt.Errorf("--patterns: %w", err)
		}
		o.Patterns = append(o.Patterns, p)
	}
	if o.Cases, err = g.cases(o.Patterns); err != nil {
		return o, err
	}
	if len(o.Cases) == 0 || len(o.Computes) == 0 {
		return o, errors.New("--suites, --compute: found none, want one or more of each")
	}
	return o, nil
}

// cases returns those of the suites, in their order.
func (g *gpuChoice) cases(patterns []sparse.Pattern) (all []gpu.Case, err error) {
	add := func(flag string, texts []string, form string, fields int, make func(n [3]int) []gpu.Case) {
		for _, text := range texts {
			var n [3]int
			var rest string
			into := []any{&n[0], &n[1], &n[2]}[:fields]
			if read, _ := fmt.Sscanf(text+" .", form+" %s", append(slices.Clone(into), &rest)...); read != fields+1 || rest != "." {
				err = errors.Join(err, fmt.Errorf("%s: found %q, want numbers as %s", flag, text, form))
				return
			}
			for _, c := range make(n) {
				if e := c.Check(); e != nil {
					err = errors.Join(err, fmt.Errorf("%s: %w", flag, e))
					return
				}
				all = append(all, c)
			}
		}
	}
	for _, suite := range g.suites {
		switch suite {
		case gpu.Layer:
			add("--shapes", g.shapes, "%dx%d", 2, func(n [3]int) (cases []gpu.Case) {
				for _, p := range patterns {
					if e := p.Fits(n[1]); e != nil {
						err = errors.Join(err, fmt.Errorf("--patterns: %w", e))
					}
				}
				for _, rank := range g.ranks {
					for _, tokens := range g.tokens {
						cases = append(cases, gpu.Case{Suite: suite, Tokens: tokens, Out: n[0], In: n[1], Rank: rank})
					}
				}
				return cases
			})
		case gpu.Attention:
			add("--attention", g.attention, "%dx%dx%d", 3, func(n [3]int) []gpu.Case {
				c := gpu.Case{Suite: suite, Tokens: n[0], Heads: n[1], HeadDim: n[2]}
				causal := c
				causal.Causal = true
				return []gpu.Case{causal, c}
			})
		case gpu.Loss:
			add("--loss", g.loss, "%dx%d", 2, func(n [3]int) []gpu.Case { return []gpu.Case{{Suite: suite, Tokens: n[0], Vocabulary: n[1]}} })
		case gpu.Memory:
			add("--memory", g.memory, "%dx%d", 2, func(n [3]int) []gpu.Case { return []gpu.Case{{Suite: suite, Tokens: n[0], In: n[1]}} })
		default:
			return nil, fmt.Errorf("--suites: found %q, want %s, %s, %s or %s", suite, gpu.Layer, gpu.Attention, gpu.Loss, gpu.Memory)
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
