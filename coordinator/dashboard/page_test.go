package dashboard_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"ressa/coordinator/api"
)

// look is a window.
type look struct {
	width, height int64
	scheme        string
}

// looks are the windows that every page has to fit.
func looks() []look {
	all := []look{{360, 740, "light"}, {1920, 1080, "dark"}, {360, 740, "dark"}, {1920, 1080, "light"}}
	if testing.Short() {
		return all[:2]
	}
	return all
}

// repairing is a cluster with a job that trains on four nodes after the loss of one.
func repairing(t *testing.T) *fake {
	f := newFake(t)
	f.node("t1", api.NodeReady, "")
	f.node("t2", api.NodeLost, "silent for 3 s, its lease is 3 s")
	f.node("t3", api.NodeReady, "", api.Finding{Severity: api.Warn, UUID: "GPU-1", Reason: "GPU 1 (GPU-1): XID 79: GPU has fallen off the bus; it does not compute on it"})
	f.node("t4", api.NodeReady, "")
	f.node("t5", api.NodeDraining, "asked for by a user")
	f.node("t6", api.NodeUnfit, "cuda:0: GPU 0 (GPU-0): XID 48: double-bit ECC error", api.Finding{Device: "cuda:0", UUID: "GPU-0", Severity: api.Fatal, Reason: "GPU 0 (GPU-0): XID 48: double-bit ECC error"})
	j := f.job("abcdefgh", "fashiongrid-2-4", api.Running, "t1", "t3", "t4")
	j.Status.Generation, j.Reason, j.Planned = 2, "", "node t2 is lost: silent for 3 s, its lease is 3 s"
	began := time.Now().Add(-30 * time.Second)
	f.past = api.History{
		Changes: []api.Change{{Generation: 2, Cause: "node t2 is lost: silent for 3 s, its lease is 3 s", Node: "t2", CausedAt: began, Planned: began.Add(10 * time.Millisecond), WentOn: began.Add(2 * time.Second),
			Origin: api.Origin{From: api.FromMemory, Step: 24, StepsLost: 1, Pause: 5.1}}},
		Decisions: []api.Decision{
			{Index: 5, At: began.Add(-time.Minute), Job: j.ID, Action: "submitted", Reason: "handed in by a user"},
			{Index: 6, At: began.Add(-time.Minute), Job: j.ID, Action: "planned", Reason: "generation 1: on t1, t2, t3, t4"},
			{Index: 9, At: began, Job: j.ID, Node: "t2", Action: "planned", Reason: "generation 2: node t2 is lost: silent for 3 s, its lease is 3 s"},
			{Index: 10, At: began.Add(2 * time.Second), Job: j.ID, Action: "went-on", Reason: "went on after step 24, from memory; cost 5.1 s without steps and 1 step made again"}},
	}
	f.now.Decisions = append(f.past.Decisions, api.Decision{Index: 11, At: began, Node: "t5", Action: "drained", Reason: "asked for by a user"})
	f.event(0, 1, api.Event{Event: "phase", Phase: "train"})
	layers := []api.Layer{}
	for _, tower := range []string{"vision", "language"} {
		for b := range 4 {
			for i, l := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"} {
				layers = append(layers, api.Layer{Name: fmt.Sprintf("%s.model.layers.%d.%s.weight", tower, b, l), Tower: tower, Sparsity: 0.42 + 0.02*float64(i) + 0.01*float64(b)})
			}
		}
	}
	f.event(0, 1, api.Event{Event: "note", Layers: layers})
	for i, of := range []string{"dense", "pruned"} {
		s := 78.2 - 30*float64(i)
		f.event(0, 1, api.Event{Event: "score", Of: of, Score: &api.Score{Score: s, Low: s - 3, High: s + 3, Correct: 782, Questions: 1000}})
	}
	for i := 1; i <= 40; i++ {
		g := 1
		if i > 24 {
			g = 2
		}
		f.event(0, g, api.Event{Event: "step", Step: &api.Step{Step: i, Steps: 120, Loss: 2.4*math.Exp(-float64(i)/14) + 0.4 + 0.05*math.Sin(float64(i)), CE: 1.5*math.Exp(-float64(i)/12) + 0.3,
			KL: 0.9*math.Exp(-float64(i)/18) + 0.1, GradNorm: 1.2, LR: 1e-3, Tokens: 4096, Seconds: 0.3 + 0.05*math.Cos(float64(i)*1.7)}})
		if i%10 == 0 {
			s := 48 + float64(i)/2
			f.event(0, g, api.Event{Event: "validation", Of: "validation", Score: &api.Score{Score: s, Low: s - 3, High: s + 3}})
		}
	}
	for i := range 60 {
		level := "INFO"
		if i%20 == 7 {
			level = "WARN"
		}
		f.line(api.LogLine{Job: j.ID, Generation: 2, Worker: i % 3, Level: level, Text: fmt.Sprintf("step %d took %d ms", i, 300+i)})
	}
	f.trace = traced(j.ID)
	done := f.job("finished", "fashiongrid-4-8", api.Succeeded)
	recovery := 0.6333
	score := func(s float64) *api.Score { return &api.Score{Score: s, Low: s - 2, High: s + 2} }
	done.Status.Step, done.Status.Generation, done.Ended, done.Reason = 120, 2, time.Now(), "all workers succeeded"
	done.Result = &api.Result{State: api.Succeeded, Dense: score(78.2), Pruned: score(48.2), Repaired: score(67.2), Blind: score(31), Recovery: &recovery}
	f.now.Jobs[1] = *done
	return f
}

// traced is a step of two towers on three nodes, as trainers record one.
func traced(job string) *api.Trace {
	t := &api.Trace{Job: job, Generation: 2, Step: 40, TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", Sampled: true}
	begin := time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)
	add := func(node, service, name, parent string, from, to float64, attributes ...string) string {
		id := fmt.Sprintf("%016x", len(t.Spans)+1)
		s := api.Span{ID: id, Parent: parent, Name: name, Service: "ressa-" + service, Node: node, Attributes: map[string]string{}}
		s.Start, s.End = begin.Add(time.Duration(from*1e6)), begin.Add(time.Duration(to*1e6))
		for i := 0; i+1 < len(attributes); i += 2 {
			s.Attributes[attributes[i]] = attributes[i+1]
		}
		t.Spans = append(t.Spans, s)
		return id
	}
	root := add("t1", "vision", "step", "", 0, 300)
	for m := range 8 {
		at, lang := float64(m)*18, []string{"t3", "t4"}[m%2]
		mb := add("t1", "trainer", "microbatch", root, at, at+170, "ressa.microbatch", fmt.Sprint(m))
		of := []string{"ressa.microbatch", fmt.Sprint(m), "ressa.stage", "0"}
		add("t1", "vision", "vision.forward", mb, at, at+17, of...)
		add("t1", "vision", "activations.send", mb, at+17, at+22, append(of, "ressa.bytes", "524288", "ressa.edge", "features", "ressa.peer", lang)...)
		begun := 24 + float64(m/2)*56
		lm := add(lang, "language", "microbatch", root, begun-4, begun+52, of...)
		add(lang, "language", "activations.recv", lm, begun-4, begun, of...)
		add(lang, "language", "language.forward", lm, begun, begun+16, of...)
		add(lang, "language", "teacher.forward", lm, begun+16, begun+28, of...)
		add(lang, "language", "loss", lm, begun+28, begun+31, of...)
		add(lang, "language", "language.backward", lm, begun+31, begun+50, of...)
		add(lang, "language", "activations.send", lm, begun+50, begun+52, of...)
		back := begun + 54
		add("t1", "vision", "vision.backward", mb, max(back, 150+float64(m)*9), max(back, 150+float64(m)*9)+9, of...)
	}
	for _, n := range []struct{ node, service string }{{"t1", "vision"}, {"t3", "language"}, {"t4", "language"}} {
		add(n.node, n.service, "allreduce", root, 262, 284, "ressa.bytes", "81920")
		add(n.node, n.service, "optimizer", root, 284, 297)
	}
	return t
}

// What is there is shown, fits the window, and raises no error, in all windows.
func TestPagesFitTheirWindows(t *testing.T) {
	for _, l := range looks() {
		t.Run(fmt.Sprint(l.width, l.scheme), func(t *testing.T) {
			f := repairing(t)
			b := open(t, l.width, l.height, l.scheme)
			b.do(chromedp.Navigate(f.url))
			b.until("the nodes are shown", `document.querySelectorAll('[data-node]').length === 6 && document.querySelector('[data-job=abcdefgh]')`)
			b.fits()
			b.shot(fmt.Sprintf("cluster-%d-%s", l.width, l.scheme))
			if row := eval[string](b, `document.querySelector('[data-job=finished]').textContent`); !strings.Contains(row, "67.20 %") || !strings.Contains(row, "63.33 %") {
				t.Errorf("the job that ended is shown as %q", row)
			}
			b.do(chromedp.Navigate(f.url + "/#/jobs/finished"))
			b.until("its scores are shown", `document.querySelectorAll('.scores tbody tr').length === 4 && document.querySelector('#scores').innerText.includes('63.33')`)
			b.fits()
			b.shot(fmt.Sprintf("finished-%d-%s", l.width, l.scheme))
			b.do(chromedp.Navigate(f.url + "/#/jobs/abcdefgh"))
			b.until("the trace is drawn", `document.querySelectorAll('.rankline .span').length > 50`)
			b.until("curves, scores and sparsity are drawn", `document.querySelectorAll('path.curve').length === 4 && document.querySelectorAll('.scores tbody tr').length === 2 && document.querySelectorAll('.map td').length === 48`)
			eval[any](b, `[...document.querySelectorAll('#logs button')].at(-1).click()`)
			b.until("the log is shown", `document.querySelectorAll('.line').length === 60`)
			b.fits()
			b.shot(fmt.Sprintf("job-%d-%s", l.width, l.scheme))
			if text := eval[string](b, `document.querySelector('.notice').textContent`); !strings.Contains(text, "Recovered: generation 2") || !strings.Contains(text, "node t2 is lost") {
				t.Errorf("the recovery is told as %q", text)
			}
			if link := eval[string](b, `document.querySelector('.stepbar a').getAttribute('href')`); link != "/trace/abcdefgh/2/40" {
				t.Errorf("the step's trace is at %s", link)
			}
		})
	}
}

// No job, one and hundreds; names as long as they may be and as hostile as they could be.
func TestPagesTakeAnyJobs(t *testing.T) {
	hostile := `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>"'&` + "\u202e"
	for _, l := range looks() {
		t.Run(fmt.Sprint(l.width, l.scheme), func(t *testing.T) {
			none, f := newFake(t), newFake(t)
			b := open(t, l.width, l.height, l.scheme)
			b.do(chromedp.Navigate(none.url))
			b.until("it says that there is no job", `document.querySelector('#jobs .none') && document.querySelector('#nodes .none')`)
			b.fits()
			b.shot(fmt.Sprintf("none-%d-%s", l.width, l.scheme))

			states := []string{api.Running, api.Pending, api.Succeeded, api.Failed, api.Cancelled, api.Starting, api.Cancelling}
			for i := range 200 {
				f.job(fmt.Sprintf("job%05d", i), fmt.Sprintf("name-%d", i), states[i%len(states)], "n1")
				f.now.Jobs[i].Submitted = time.Now().Add(-time.Duration(i) * time.Hour)
			}
			long := strings.Repeat("a-very-long-name-", 7)
			f.job("longlong", long, api.Running, long).Status.Generation = 1
			f.node(long, api.NodeLost, strings.Repeat("a reason without end ", 40))
			wild := f.job("hostile1", hostile, api.Failed, hostile)
			f.now.Jobs[len(f.now.Jobs)-1].Reason, wild.Reason = hostile, hostile
			f.node(hostile, api.NodeReady, hostile, api.Finding{Severity: hostile, Reason: hostile, Device: hostile})
			f.now.Decisions = []api.Decision{{Index: 1, At: time.Now(), Job: "hostile1", Node: hostile, Action: hostile, Reason: hostile}}
			f.past = api.History{Decisions: f.now.Decisions, Changes: []api.Change{{Generation: 1, Cause: hostile, Node: hostile}}}
			f.event(0, 1, api.Event{Event: "step", Step: &api.Step{Step: 1, Steps: 1}})
			f.event(0, 1, api.Event{Event: "note", Layers: []api.Layer{{Name: hostile, Tower: hostile, Sparsity: 0.5}}})
			f.line(api.LogLine{Text: hostile, Level: hostile})
			f.trace = &api.Trace{TraceID: hostile, Missing: []api.Taken{{Node: hostile, Reason: hostile}}, Spans: []api.Span{{ID: "1", Name: hostile, Service: hostile, Node: hostile, Start: time.Unix(1, 0), End: time.Unix(2, 0), Error: hostile}}}
			b.do(chromedp.Navigate(f.url))
			b.until("some jobs are shown", `document.querySelectorAll('[data-job]').length === 100`)
			b.fits()
			b.shot(fmt.Sprintf("many-%d-%s", l.width, l.scheme))
			eval[any](b, `[...document.querySelectorAll('#jobs button')].find(b => b.textContent.startsWith('Show more')).click()`)
			b.until("all jobs are shown", `document.querySelectorAll('[data-job]').length === 202`)
			b.do(chromedp.SendKeys("#jobs input[type=search]", "failed name-1"))
			b.until("the filter leaves few", `(n => n > 0 && n < 30)(document.querySelectorAll('[data-job]').length)`)

			for _, id := range []string{"longlong", "hostile1"} {
				b.do(chromedp.Navigate(f.url + "/#/jobs/" + id))
				b.until(id+" is shown", `document.querySelector('.jobhead .id')?.textContent === '`+id+`' && document.querySelector('.map td') && document.querySelector('.rankline .span')`)
				eval[any](b, `[...document.querySelectorAll('#logs button')].at(-1).click()`)
				b.until("the log is shown", `document.querySelector('.line .text')`)
				b.fits()
				b.shot(fmt.Sprintf("%s-%d-%s", id, l.width, l.scheme))
			}
			if text := eval[string](b, `document.querySelector('.line .text').textContent`); text != strings.ReplaceAll(hostile, "\u202e", "\ufffd") {
				t.Errorf("the line is shown as %q", text)
			}
			if eval[bool](b, `document.title.includes('taken') && !document.title.includes('<') || document.querySelectorAll('#app img, #app script').length > 0`) {
				t.Error("a name became markup")
			}
		})
	}
}

// A job is cancelled and a node drained by keys alone, not before it is confirmed, by
// requests that carry the page's header.
func TestActionsAreConfirmed(t *testing.T) {
	f := repairing(t)
	b := open(t, 1280, 800, "light")
	b.do(chromedp.Navigate(f.url))
	b.until("the job is shown", `document.querySelector('[data-job=abcdefgh] button')`)
	posts := func() []string { f.mu.Lock(); defer f.mu.Unlock(); return slices.Clone(f.posts) }
	eval[any](b, `document.querySelector('[data-job=abcdefgh] button').focus()`)
	b.do(chromedp.KeyEvent("\r"))
	b.until("it asks", `document.querySelector('dialog[open]')?.textContent.includes('Cancel job fashiongrid-2-4?')`)
	b.do(chromedp.KeyEvent("\x1b"))
	b.until("Escape leaves it", `!document.querySelector('dialog') && document.activeElement.textContent === 'Cancel'`)
	if len(posts()) > 0 {
		t.Fatalf("posted before it was confirmed: %q", posts())
	}
	b.do(chromedp.KeyEvent("\r"))
	b.until("it asks again", `document.querySelector('dialog[open]')`)
	b.do(chromedp.KeyEvent("\t"), chromedp.KeyEvent("\r"))
	b.until("it is done", `!document.querySelector('dialog')`)
	eval[any](b, `document.querySelector('[data-node=t1] button').focus()`)
	b.do(chromedp.KeyEvent("\r"))
	b.until("it asks for the node", `document.querySelector('dialog[open]')?.textContent.includes('Drain node t1?')`)
	b.shot("drain")
	b.do(chromedp.KeyEvent("\t"), chromedp.KeyEvent("\r"))
	b.until("the node is drained", `!document.querySelector('dialog')`)
	if want := []string{"/v1/jobs/abcdefgh/cancel 1 {}", `/v1/nodes/t1/drain 1 {"drain":true}`}; !slices.Equal(posts(), want) {
		t.Errorf("posted %q, want %q", posts(), want)
	}
}

// Everything that can be done is reached by Tab, in the order of the page, and shows
// the focus; landmarks, headings and tables have names.
func TestPagesWorkByKeyboard(t *testing.T) {
	f := repairing(t)
	b := open(t, 1280, 800, "light")
	b.do(chromedp.Navigate(f.url + "/#/jobs/abcdefgh"))
	b.until("the job is shown", `document.querySelectorAll('.rankline .span').length > 50`)
	b.do(chromedp.KeyEvent("\t"))
	if first := eval[string](b, `document.activeElement.className`); first != "skip" {
		t.Errorf("the first Tab reaches %q", first)
	}
	seen := map[string]bool{}
	for range 60 {
		b.do(chromedp.KeyEvent("\t"))
		what := eval[string](b, `(e => e === document.body ? '' : e.tagName + ' ' + (e.getAttribute('aria-label') ?? e.textContent).trim().slice(0, 30))(document.activeElement)`)
		if what == "" {
			break
		}
		if !eval[bool](b, `(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))`) {
			t.Errorf("%s does not show that it has the focus", what)
		}
		seen[what] = true
	}
	for _, want := range []string{"A Ressa", "BUTTON Cancel job fashiongrid-2-4", "BUTTON ‹ Earlier", "A Step 40 in Jaeger ↗", "DIV Loss by step: loss", "SUMMARY Last steps as a table"} {
		found := false
		for got := range seen {
			found = found || strings.HasPrefix(got, want[:min(len(want), 20)])
		}
		if !found {
			t.Errorf("%q is not reached by Tab: %v", want, seen)
		}
	}
	if bad := eval[[]string](b, `[
		...[...document.querySelectorAll('button, input, a')].filter(e => !(e.getAttribute('aria-label') || e.closest('label')?.textContent.trim() || e.textContent.trim())).map(e => 'no name: ' + e.outerHTML.slice(0, 80)),
		...[...document.querySelectorAll('table')].filter(e => !e.querySelector('thead th[scope=col]')).map(e => 'no headers: ' + e.className),
		...['header', 'main', 'nav', 'footer', 'h1'].filter(s => document.querySelectorAll(s).length !== 1).map(s => 'not one ' + s),
		...[...document.querySelectorAll('[id]')].filter(e => document.querySelectorAll('#' + CSS.escape(e.id)).length > 1).map(e => 'twice: ' + e.id)]`); len(bad) > 0 {
		t.Errorf("%q", bad)
	}
}

// A step without a trace, a job that is not there and a coordinator that is gone are
// said in words.
func TestPagesSayWhatIsMissing(t *testing.T) {
	f := repairing(t)
	b := open(t, 1280, 800, "dark")
	b.expected = func(text string) bool { return strings.Contains(text, "404") || strings.Contains(text, "ERR_") }
	f.trace = nil
	b.do(chromedp.Navigate(f.url + "/#/jobs/abcdefgh"))
	b.until("the trace is missing", `document.querySelector('#timeline')?.innerText.includes('No trace of step 40: no node has the step in memory any more')`)
	b.do(chromedp.Navigate(f.url + "/#/jobs/nosuchjob"))
	b.until("the job is missing", `document.querySelector('main').innerText.includes('job nosuchjob: not found')`)
	b.do(chromedp.Navigate(f.url + "/#/"))
	b.until("the cluster is shown", `document.querySelector('.link.good')`)
}

// A page whose connections break says so, comes back by itself and goes on where it was.
func TestPagesComeBack(t *testing.T) {
	f := repairing(t)
	b := open(t, 1280, 800, "light")
	b.expected = func(text string) bool { return strings.Contains(text, "ERR_") }
	b.do(chromedp.Navigate(f.url + "/#/jobs/abcdefgh"))
	b.until("steps are drawn", `document.querySelectorAll('.duration').length === 40`)
	eval[any](b, `[...document.querySelectorAll('#logs button')].at(-1).click()`)
	b.until("the log is shown", `document.querySelectorAll('.line').length === 60`)
	b.note("cut", `document.querySelector('.link.bad')?.textContent.includes('trying again')`)
	b.note("back", `window.seen.cut && document.querySelector('.link.good')`)
	f.cut()
	if took := b.noted("back").Sub(b.noted("cut")); took > 3*time.Second {
		t.Errorf("it came back after %v", took)
	}
	f.mu.Lock()
	f.event(0, 2, api.Event{Event: "step", Step: &api.Step{Step: 41, Steps: 120, Loss: 1, Seconds: 0.3}})
	f.line(api.LogLine{Generation: 2, Text: "one more"})
	f.mu.Unlock()
	f.cut()
	b.until("what is new is there, once", `document.querySelectorAll('.duration').length === 41 && document.querySelectorAll('.line').length === 61`)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.after) < 4 {
		t.Errorf("streams went on at %q, want twice each", f.after)
	}
}
