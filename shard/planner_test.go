package shard

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// shipped reads a profile that package trainer/job made, as its tests verify.
func shipped(t *testing.T, name string) Profile {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var p Profile
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// equal returns n nodes that differ in their names alone.
func equal(n int, like Node) []Node {
	var out []Node
	for i := range n {
		like.Name = fmt.Sprintf("t%d", i+1)
		out = append(out, like)
	}
	return out
}

var (
	cpuNode = Node{Kind: "cpu-avx512", Speed: 30e9, Memory: 8e9, Bandwidth: 1e9, Latency: 1e-4}
	gpuNode = Node{Kind: "cuda-sm90", Speed: 100e12, Memory: 23e9, Bandwidth: 1.25e9, Latency: 1e-4}
)

func with(n Node, memory int64) Node {
	n.Memory = memory
	return n
}

// shape says of each worker what it holds and computes, as "V0-3×8 L0-3×4".
func shape(p Plan) string {
	var workers []string
	for w := range p.Nodes {
		var roles []string
		for _, s := range p.Stages {
			if !slices.Contains(s.Workers, w) {
				continue
			}
			n := 0
			for _, o := range s.Owners {
				if o == w {
					n++
				}
			}
			roles = append(roles, fmt.Sprintf("%c%d-%d×%d", s.Tower[0]-'a'+'A', s.Lo, s.Hi, n))
		}
		workers = append(workers, strings.Join(roles, " "))
	}
	return strings.Join(workers, ", ")
}

func TestPlans(t *testing.T) {
	demo, large := shipped(t, "demo"), shipped(t, "llava-1.5-7b")
	for _, c := range []struct {
		name    string
		r       Request
		want    string
		seconds [2]float64
	}{
		// 6.16 Gflop a step at 30 Gflop/s.
		{"the demo on one node", Request{Profile: demo, Nodes: equal(4, cpuNode), Microbatches: 8, Want: 1}, "V0-3×8 L0-3×8", [2]float64{0.2, 0.21}},
		{"the demo on two", Request{Profile: demo, Nodes: equal(4, cpuNode), Microbatches: 8, Want: 2}, "V0-3×4 L0-3×4, V0-3×4 L0-3×4", [2]float64{0.1, 0.11}},
		{"the demo on three", Request{Profile: demo, Nodes: equal(4, cpuNode), Microbatches: 8, Want: 3}, "V0-3×3 L0-3×3, V0-3×3 L0-3×3, V0-3×2 L0-3×2", [2]float64{0.075, 0.08}},
		{"the demo on four", Request{Profile: demo, Nodes: equal(4, cpuNode), Microbatches: 8, Want: 4}, "V0-3×2 L0-3×2, V0-3×2 L0-3×2, V0-3×2 L0-3×2, V0-3×2 L0-3×2", [2]float64{0.05, 0.056}},
		{"the demo on as many as help", Request{Profile: demo, Nodes: equal(4, cpuNode), Microbatches: 8}, "V0-3×2 L0-3×2, V0-3×2 L0-3×2, V0-3×2 L0-3×2, V0-3×2 L0-3×2", [2]float64{0.05, 0.056}},
		{"the demo, towers apart", Request{Profile: demo, Nodes: equal(2, cpuNode), Microbatches: 8, VisionReplicas: 1, LanguageReplicas: 1, Want: 2}, "V0-3×8, L0-3×8", [2]float64{0.14, 0.16}},
		{"the demo, one and two", Request{Profile: demo, Nodes: equal(4, cpuNode), Microbatches: 8, VisionReplicas: 1, LanguageReplicas: 2, Want: 3}, "V0-3×8, L0-3×4, L0-3×4", [2]float64{0.072, 0.09}},
		{"the demo, two and two", Request{Profile: demo, Nodes: equal(4, cpuNode), Microbatches: 8, VisionReplicas: 2, LanguageReplicas: 2, Want: 4}, "V0-3×4, V0-3×4, L0-3×4, L0-3×4", [2]float64{0.072, 0.09}},
		{"the demo, one and three", Request{Profile: demo, Nodes: equal(4, cpuNode), Microbatches: 8, VisionReplicas: 1, LanguageReplicas: 3, Want: 4}, "V0-3×8, L0-3×3, L0-3×3, L0-3×2", [2]float64{0.055, 0.075}},
		{"the demo where two nodes hold everything and a third helps one tower", Request{Profile: demo, Nodes: equal(3, cpuNode), Microbatches: 8, VisionReplicas: 2, LanguageReplicas: 3, Want: 3}, "", [2]float64{0.06, 0.12}},
		{"the demo over a slow network stays on one node", Request{Profile: demo, Nodes: equal(4, Node{Kind: "cpu", Speed: 30e9, Memory: 8e9, Bandwidth: 1e5, Latency: 0.05}), Microbatches: 8}, "V0-3×8 L0-3×8", [2]float64{0.2, 0.21}},
		// A 7B model does not fit 23 GB with both towers and 1024 tokens, and does with one.
		{"LLaVA-7B on two", Request{Profile: large, Nodes: equal(2, gpuNode), Microbatches: 16}, "V0-23×16, L0-32×16", [2]float64{8.5, 9.2}},
		{"LLaVA-7B on three", Request{Profile: large, Nodes: equal(3, gpuNode), Microbatches: 16}, "V0-23×16, L0-32×8, L0-32×8", [2]float64{4.3, 4.8}},
		{"LLaVA-7B on one of 40 GB", Request{Profile: large, Nodes: equal(1, with(gpuNode, 40e9)), Microbatches: 16}, "V0-23×16 L0-32×16", [2]float64{9, 9.3}},
		{"LLaVA-7B on two of 16 GB in stages", Request{Profile: large, Nodes: equal(2, with(gpuNode, 16e9)), Microbatches: 16}, "V0-23×16 L0-14×16, L14-32×16", [2]float64{5, 10.5}},
		{"LLaVA-7B on a large and a small node", Request{Profile: large, Nodes: []Node{{Name: "a", Kind: "k", Speed: 50e12, Memory: 25e9, Bandwidth: 1e9, Latency: 1e-4}, {Name: "b", Kind: "k", Speed: 50e12, Memory: 3e9, Bandwidth: 1e9, Latency: 1e-4}}, Microbatches: 16, Want: 2}, "V0-23×16, L0-32×16", [2]float64{17, 18.5}},
		// Twice as fast, twice as many.
		{"nodes of different speeds", Request{Profile: demo, Nodes: []Node{{Name: "a", Kind: "k", Speed: 10e9, Memory: 8e9, Bandwidth: 1e9, Latency: 1e-4}, {Name: "b", Kind: "k", Speed: 30e9, Memory: 8e9, Bandwidth: 1e9, Latency: 1e-4}}, Microbatches: 8, Want: 2}, "V0-3×6 L0-3×6, V0-3×2 L0-3×2", [2]float64{0.15, 0.16}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := MakePlan(c.r)
			if err != nil {
				t.Fatal(err)
			}
			verify(t, c.r, p)
			if got := shape(p.Plan); c.want != "" && got != c.want {
				t.Errorf("plan %s, want %s", got, c.want)
			}
			if p.StepSeconds < c.seconds[0] || p.StepSeconds > c.seconds[1] {
				t.Errorf("a step takes %v s, want %v", p.StepSeconds, c.seconds)
			}
			if t.Failed() {
				t.Log(strings.Join(p.Explanation, "\n"))
			}
		})
	}
}

// verify holds a plan to what every plan promises.
func verify(t *testing.T, r Request, p Planned) {
	t.Helper()
	if err := p.Plan.Check(); err != nil {
		t.Error(err)
	}
	if r.Want > 0 && len(p.Plan.Nodes) != r.Want {
		t.Errorf("%d nodes, want %d", len(p.Plan.Nodes), r.Want)
	}
	if len(p.Memory) != len(p.Plan.Nodes) || len(p.Plan.InFlight) != len(p.Plan.Nodes) || len(p.Explanation) < 2 || !(p.StepSeconds > 0) {
		t.Errorf("%d memories, %v in flight, %d lines, %v s for %d nodes", len(p.Memory), p.Plan.InFlight, len(p.Explanation), p.StepSeconds, len(p.Plan.Nodes))
	}
	for i, m := range p.Memory {
		if m.Needs > m.Free || m.Needs <= 0 || m.Node != p.Plan.Nodes[i] || m.Roles == "" || m.Layers == "" {
			t.Errorf("worker %d: %+v", i, m)
		}
	}
	blocks := map[string]int{}
	for _, s := range p.Plan.Stages {
		blocks[s.Tower] += s.Hi - s.Lo
		for m := 1; m < len(s.Owners); m++ {
			if s.Owners[m] < s.Owners[m-1] {
				t.Errorf("owners %v are not contiguous ranges", s.Owners)
				break
			}
		}
		if !slices.Equal(slices.Compact(slices.Clone(s.Owners)), s.Workers) {
			t.Errorf("owners %v of workers %v", s.Owners, s.Workers)
		}
		for tower, want := range map[string]int{Vision: r.VisionReplicas, Language: r.LanguageReplicas} {
			if s.Tower == tower && want > 0 && len(s.Workers) != want {
				t.Errorf("%d replicas of the %s tower, want %d", len(s.Workers), tower, want)
			}
		}
	}
	for _, tower := range r.Profile.Towers {
		if blocks[tower.Role] != len(tower.Blocks) {
			t.Errorf("%d blocks of the %s tower, want %d", blocks[tower.Role], tower.Role, len(tower.Blocks))
		}
	}
	if slices.Contains(p.Plan.Nodes, r.Chief) && p.Plan.Nodes[0] != r.Chief {
		t.Errorf("worker 0 is on %s, want %s", p.Plan.Nodes[0], r.Chief)
	}
}

func randomRequest(r *rand.Rand) Request {
	tower := func(role string) Tower {
		t := Tower{Role: role, Flows: 1 + r.IntN(2), HiddenBytes: r.Int64N(1 << 24), Fixed: r.Int64N(1 << 20), Whole: r.IntN(8) == 0}
		trained := r.IntN(5) > 0
		for range 1 + r.IntN(12) {
			b := Block{Forward: 1e9 * r.Float64(), Backward: 2e9 * r.Float64(), Weights: r.Int64N(1 << 28), Activations: r.Int64N(1 << 26), Scratch: r.Int64N(1 << 26)}
			if trained {
				b.Trained = r.Int64N(1 << 24)
			}
			t.Blocks = append(t.Blocks, b)
		}
		return t
	}
	q := Request{Microbatches: 1 + r.IntN(20), Wire: []string{"", FP32, BF16}[r.IntN(3)]}
	q.Profile = Profile{Towers: []Tower{tower(Vision), tower(Language)}, CutBytes: r.Int64N(1 << 24), Flows: 1 + r.IntN(2)}
	switch r.IntN(10) {
	case 0:
		q.Profile.Towers = q.Profile.Towers[:1]
	case 1:
		q.Profile.Towers = q.Profile.Towers[1:]
	}
	uniform := r.IntN(2) == 0
	memory := int64(1) << (27 + r.IntN(8))
	for i := range 1 + r.IntN(7) {
		n := Node{Name: string(rune('a' + i)), Kind: "k", Speed: 1e11, Memory: memory, Bandwidth: 1e8, Latency: 1e-4}
		if !uniform {
			n.Speed *= 0.5 + float64(r.IntN(4))
			n.Memory += r.Int64N(memory)
			n.Bandwidth *= float64(r.IntN(20))
		}
		q.Nodes = append(q.Nodes, n)
	}
	if r.IntN(2) == 0 {
		q.Want = 1 + r.IntN(len(q.Nodes))
	}
	if r.IntN(4) == 0 {
		q.VisionReplicas = r.IntN(3)
		q.LanguageReplicas = r.IntN(4)
	}
	if r.IntN(2) == 0 {
		q.Chief = q.Nodes[r.IntN(len(q.Nodes))].Name
	}
	return q
}

func TestPlansOfRandomJobs(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 21))
	made, cut, refused := 0, 0, map[string]int{}
	for i := range 250 {
		q := randomRequest(r)
		p, err := MakePlan(q)
		shuffled := q
		shuffled.Nodes = slices.Clone(q.Nodes)
		r.Shuffle(len(shuffled.Nodes), func(i, j int) {
			shuffled.Nodes[i], shuffled.Nodes[j] = shuffled.Nodes[j], shuffled.Nodes[i]
		})
		again, errAgain := MakePlan(shuffled)
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || !reflect.DeepEqual(p, again) {
			t.Fatalf("request %d: another order of the nodes gives another plan:\n%v %v\n%v %v", i, p.Plan, err, again.Plan, errAgain)
		}
		if err != nil {
			refused[reason(t, q, err)]++
			continue
		}
		made++
		verify(t, q, p)
		if len(p.Plan.Stages) > len(q.Profile.Towers) {
			cut++
		}
		if q.Want == 0 && q.VisionReplicas == 0 && q.LanguageReplicas == 0 {
			solo := q
			solo.Want = 1
			if s, err := MakePlan(solo); err == nil && s.StepSeconds < p.StepSeconds {
				t.Errorf("request %d: %d nodes take %v s, one takes %v", i, len(p.Plan.Nodes), p.StepSeconds, s.StepSeconds)
			}
		}
		if t.Failed() {
			t.Fatalf("request %d: %+v\n%s", i, q, strings.Join(p.Explanation, "\n"))
		}
	}
	if made < 100 || cut < 10 || refused["memory"] < 10 || refused["impossible"] < 3 {
		t.Errorf("%d plans, %d of them cut, refusals %v: the property is hardly tested", made, cut, refused)
	}
}

// reason verifies an error and returns its class.
func reason(t *testing.T, q Request, err error) string {
	t.Helper()
	var fit *DoesNotFit
	switch {
	case errors.As(err, &fit):
		if len(fit.Missing) == 0 || fit.Needs <= fit.Free || fit.Node == "" || fit.What == "" {
			t.Errorf("%+v", fit)
		}
		for _, s := range fit.Missing {
			if s.Needs <= s.Free {
				t.Errorf("%+v is missing nothing", s)
			}
		}
		return "memory"
	case errors.Is(err, ErrImpossible):
		return "impossible"
	}
	t.Errorf("%+v: %v", q, err)
	return "other"
}

func TestPlanRefuses(t *testing.T) {
	demo := shipped(t, "demo")
	for _, c := range []struct {
		name string
		r    Request
		want error
		says string
	}{
		{"no nodes", Request{Profile: demo, Microbatches: 8}, ErrNoNodes, "no nodes"},
		{"two kinds", Request{Profile: demo, Nodes: []Node{{Name: "a", Kind: "x"}, {Name: "b", Kind: "y"}}, Microbatches: 8}, ErrKinds, "a is x, b is y"},
		{"more nodes than there are", Request{Profile: demo, Nodes: equal(2, cpuNode), Microbatches: 8, Want: 3}, ErrImpossible, "3 nodes are wanted, and 2 are there"},
		{"more nodes than work", Request{Profile: demo, Nodes: equal(9, cpuNode), Microbatches: 4, Want: 9}, ErrImpossible, "4 microbatches in two towers are work for 8 at most"},
		{"more replicas than microbatches", Request{Profile: demo, Nodes: equal(9, cpuNode), Microbatches: 4, VisionReplicas: 5}, ErrImpossible, "5 replicas of the vision tower"},
		{"more replicas than nodes", Request{Profile: demo, Nodes: equal(2, cpuNode), Microbatches: 4, LanguageReplicas: 3}, ErrImpossible, "3 replicas of the language tower"},
		{"replicas that leave no role", Request{Profile: demo, Nodes: equal(4, cpuNode), Microbatches: 4, Want: 1, VisionReplicas: 2}, ErrImpossible, "each takes a node"},
		{"no microbatches", Request{Profile: demo, Nodes: equal(1, cpuNode)}, ErrProfile, "0 microbatches"},
		{"a dtype that is none", Request{Profile: demo, Nodes: equal(1, cpuNode), Microbatches: 1, Wire: "fp8"}, ErrProfile, `"fp8"`},
		{"no towers", Request{Nodes: equal(1, cpuNode), Microbatches: 1}, ErrProfile, "0 towers"},
		{"a speed that is none", Request{Profile: demo, Nodes: []Node{{Name: "a", Speed: math.NaN()}}, Microbatches: 1}, ErrProfile, "speed NaN"},
		{"flops without end", Request{Profile: Profile{Towers: []Tower{{Role: Vision, Flows: 1, Blocks: []Block{{Forward: math.Inf(1)}}}}}, Nodes: equal(1, cpuNode), Microbatches: 1}, ErrProfile, "block 0"},
		{"a node twice", Request{Profile: demo, Nodes: []Node{cpuNode, cpuNode}, Microbatches: 1}, ErrProfile, "node name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := MakePlan(c.r)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

func TestDoesNotFitNamesTheMissingBytes(t *testing.T) {
	_, err := MakePlan(Request{Profile: shipped(t, "llava-1.5-7b"), Nodes: equal(2, with(gpuNode, 4e9)), Microbatches: 16})
	var fit *DoesNotFit
	if !errors.As(err, &fit) {
		t.Fatal(err)
	}
	if fit.Free != 4e9 || fit.Needs < 9e9 || len(fit.Missing) != 2 || !strings.Contains(err.Error(), "are missing") || !strings.Contains(fit.What, "language blocks") {
		t.Errorf("%v: %+v", err, fit)
	}
}

// Sums of the figures of a hostile profile stay numbers.
func TestPlanOfHostileFigures(t *testing.T) {
	const huge = 1<<63 - 1
	b := Block{Forward: 1e24, Backward: 1e24, Weights: huge, Trained: huge, Activations: huge, Scratch: huge}
	tower := Tower{Blocks: []Block{b, b}, HiddenBytes: huge, Flows: 1024, Fixed: huge}
	p := Profile{Towers: []Tower{tower, tower}, CutBytes: huge, Flows: 1024}
	p.Towers[0].Role, p.Towers[1].Role = Vision, Language
	var fit *DoesNotFit
	if _, err := MakePlan(Request{Profile: p, Nodes: equal(3, cpuNode), Microbatches: 1 << 20}); !errors.As(err, &fit) || fit.Needs < 0 {
		t.Error(err)
	}
}

func TestChiefIsKept(t *testing.T) {
	r := Request{Profile: shipped(t, "demo"), Nodes: equal(4, cpuNode), Microbatches: 8, Want: 1, Chief: "t3"}
	for want := 1; want <= 4; want++ {
		r.Want = want
		p, err := MakePlan(r)
		if err != nil {
			t.Fatal(err)
		}
		if p.Plan.Nodes[0] != "t3" {
			t.Errorf("worker 0 of %v, want t3", p.Plan.Nodes)
		}
	}
	r.Want, r.Chief = 2, "gone"
	if p, err := MakePlan(r); err != nil || p.Plan.Nodes[0] != "t1" {
		t.Errorf("%v %v", p.Plan.Nodes, err)
	}
}

// The error is about the plan that comes closest: with a node more the gap shrinks.
func TestDoesNotFitIsOfTheClosestPlan(t *testing.T) {
	large := shipped(t, "llava-1.5-7b")
	gap := func(n int) (missing int64) {
		_, err := MakePlan(Request{Profile: large, Nodes: equal(n, with(gpuNode, 1e9)), Microbatches: 16})
		var fit *DoesNotFit
		if !errors.As(err, &fit) {
			t.Fatal(err)
		}
		for _, s := range fit.Missing {
			missing += s.Needs - s.Free
		}
		return missing
	}
	if one, two, three := gap(1), gap(2), gap(3); one <= two || two <= three {
		t.Errorf("%d, %d and %d bytes are missing on one, two and three nodes", one, two, three)
	}
}
