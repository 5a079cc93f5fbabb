package dashboard_test

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/coordinator/local"
)

// soon is within what time the page shows what its coordinator knows.
const soon = 2 * time.Second

// note has a page write down when something is first seen in it.
func (b *tab) note(name, expression string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(() => {
		window.seen ??= {};
		const look = () => { if (!window.seen[%[1]q] && (%[2]s)) window.seen[%[1]q] = Date.now(); };
		new MutationObserver(look).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
		look();
	})()`, name, expression)))
}

// noted waits for what note looks for and returns when it was seen.
func (b *tab) noted(name string) time.Time {
	b.t.Helper()
	b.until(name+" is seen", fmt.Sprintf("window.seen[%q]", name))
	return time.UnixMilli(int64(eval[float64](b, fmt.Sprintf("window.seen[%q]", name))))
}

// A trainer is killed: the page of the cluster and that of its job show the node's death,
// the new generation and that training goes on within 2 s of the coordinator's knowing.
// The page then cancels the job.
func TestADeathIsShown(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of processes")
	}
	bin := filepath.Join(t.TempDir(), "ressa")
	if out, err := exec.Command("go", "build", "-o", bin, "ressa").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	overview, whole := open(t, 1920, 1080, "light"), open(t, 1440, 900, "dark")
	whole.expected = func(text string) bool { return strings.Contains(text, "/trace") } // a step may not be in memory any more
	c := local.DefaultConfig(bin, 3, slog.New(slog.DiscardHandler))
	c.Dir, c.Deadline = t.TempDir(), 2*time.Minute
	l, err := local.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, b := range []*tab{overview, whole} { // before their coordinator goes
			b.do(chromedp.Navigate("about:blank"))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	config := client.DefaultConfig(l.URLs()...)
	config.Logger = slog.New(slog.DiscardHandler)
	cl, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	spec := strings.NewReplacer("  questions: 10000", "  questions: 200", "  calibration_samples: 128", "  calibration_samples: 16").Replace(api.DemoJob())
	j, err := cl.Submit(ctx, api.JobRequest{Spec: spec, Nodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	overview.do(chromedp.Navigate(l.URLs()[0]))
	whole.do(chromedp.Navigate(l.URLs()[0] + "/#/jobs/" + j.ID))
	whole.until("four steps are drawn", `document.querySelectorAll('.duration').length >= 4`)
	nodes, err := cl.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	j, err = cl.Job(ctx, j.ID)
	if err != nil || len(j.Plan.Nodes) != 3 {
		t.Fatalf("plan %+v, %v", j.Plan, err)
	}
	victim := j.Plan.Nodes[2]
	pid := nodes[slices.IndexFunc(nodes, func(n api.NodeRecord) bool { return n.Name == victim })].PID
	overview.note("lost", fmt.Sprintf(`document.querySelector('[data-node=%s] [data-state=lost]')`, victim))
	whole.note("changed", `document.querySelector('.notice')?.textContent.includes('`+victim+` is lost') && document.querySelector('li[data-generation="2"] .rank')`)
	whole.note("recovered", `document.querySelector('.notice[data-recovered=yes][data-generation="2"]')`)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	lost, changed, recovered := overview.noted("lost"), whole.noted("changed"), whole.noted("recovered")
	if screenshots() != "" { // with a step, where nodes tell of one
		whole.do(chromedp.Sleep(5 * time.Second))
	}
	whole.shot("real-recovered")
	overview.shot("real-cluster")
	h, err := cl.History(ctx, j.ID)
	if err != nil || len(h.Changes) == 0 {
		t.Fatalf("history %+v, %v", h, err)
	}
	change := h.Changes[0]
	for _, x := range []struct {
		what        string
		known, seen time.Time
	}{{"the loss of " + victim, change.CausedAt, lost}, {"generation 2", change.Planned, changed}, {"that training goes on", change.WentOn, recovered}} {
		took := x.seen.Sub(x.known)
		t.Logf("%s was shown %d ms after it was known", x.what, took.Milliseconds())
		if took > soon || x.known.IsZero() {
			t.Errorf("%s was shown %v after it was known, want at most %v", x.what, took, soon)
		}
	}
	eval[any](whole, `document.querySelector('.jobhead .danger').click()`)
	whole.until("it asks", `document.querySelector('dialog[open] .danger')`)
	eval[any](whole, `document.querySelector('dialog .danger').click()`)
	whole.until("the job is cancelled", `document.querySelector('.jobhead [data-state=cancelled]')`)
	if j, err = cl.Job(ctx, j.ID); err != nil || j.Status.State != api.Cancelled {
		t.Errorf("the job is %s, %v", j.Status.State, err)
	}
}
