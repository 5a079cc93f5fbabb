package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ressa/coordinator/api"
	"ressa/shard"
)

// Prefixes of command sequences that lead to a state of job a on nodes t1 and t2.
func nodes() []Body     { return []Body{node("t1"), node("t2"), node("t3")} }
func pending() []Body   { return append(nodes(), submit("a")) }
func looked() []Body    { return append(pending(), inspected("a")) }
func starting() []Body  { return append(looked(), plan("a", 1, "t1", "t2")) }
func running() []Body   { return append(starting(), started("a", 1)) }
func succeeded() []Body { return append(reported(), finish("a", 1, api.Succeeded)) }
func failed() []Body    { return append(running(), finish("a", 1, api.Failed)) }
func reported() []Body {
	return append(running(), report("a", "t2", 1, 1, api.Succeeded), report("a", "t1", 0, 1, api.Succeeded))
}
func second() []Body { return append(running(), plan("a", 2, "t2", "t3")) }

func with[T Body](b T, change func(T)) Body { change(b); return b }

// TestAccepted gives each command a state that takes it, and says what becomes of
// the job or node that it is about. Repeating it must change nothing.
func TestAccepted(t *testing.T) {
	strictJob := with(inspected("a"), func(c *Inspected) { c.Inspection.Strict = true })
	for _, c := range []struct {
		name   string
		before []Body
		body   Body
		want   string // of the job, or of the node where the reply has none
		again  string // error of the same command once more; "" is Existing
	}{
		{"submit", nodes(), submit("a"), "pending generation 0 on []: waits to be inspected by a node", ""},
		{"inspected", pending(), inspected("a"), "pending generation 0 on []: waits to be planned", "inspected: job a is pending and needs no inspection: conflict"},
		{"inspected as invalid", pending(), with(inspected("a"), func(c *Inspected) { c.Inspection.Error, c.Inspection.ExitCode = "no such model", api.ExitInvalid }),
			"failed generation 0 on [] exit 2: no such model", "inspected: job a is failed and needs no inspection: conflict"},
		{"inspected with an error but no code", pending(), with(inspected("a"), func(c *Inspected) { c.Inspection.Error = "no such model" }),
			"failed generation 0 on [] exit 1: no such model", "inspected: job a is failed and needs no inspection: conflict"},
		{"wait", looked(), waiting("a", Busy), "pending generation 0 on []: waits: busy", "again"},
		{"plan", looked(), plan("a", 1, "t1", "t2"), "starting generation 1 on [t1 t2]: planned on 2 nodes", "plan: generation 1 of job a, which is in generation 1: stale generation"},
		{"plan in the place of another", running(), plan("a", 2, "t2", "t3"), "starting generation 2 on [t2 t3]: planned on 2 nodes", "plan: generation 2 of job a, which is in generation 2: stale generation"},
		{"plan on a node that drains under the job", append(running(), drain("t1", true)), plan("a", 2, "t1"), "starting generation 2 on [t1]: planned on 1 nodes", "plan: generation 2 of job a, which is in generation 2: stale generation"},
		{"plan of a strict job on its kind", append(pending(), strictJob, plan("a", 1, "t1")), plan("a", 2, "t2"), "starting generation 2 on [t2]: planned on 1 nodes", "plan: generation 2 of job a, which is in generation 2: stale generation"},
		{"unplan", running(), unplan("a", 1, 7), "pending generation 1 on []: node t1 is gone", "unplan: generation 1 of job a, which is pending in generation 1: stale generation"},
		{"started", starting(), started("a", 1), "running generation 1 on [t1 t2]: worker 0 runs", ""},
		{"report", running(), report("a", "t2", 1, 1, api.Failed), "running generation 1 on [t1 t2]: worker 0 runs", ""},
		{"finish as succeeded", reported(), finish("a", 1, api.Succeeded), "succeeded generation 1 on [t1 t2] exit 0: ended: succeeded", "finish: generation 1 of job a, which is succeeded in generation 1: stale generation"},
		{"finish as failed", running(), finish("a", 1, api.Failed), "failed generation 1 on [t1 t2] exit 1: ended: failed", "finish: generation 1 of job a, which is failed in generation 1: stale generation"},
		{"finish of a job without a plan", looked(), finish("a", 0, api.Failed), "failed generation 0 on [] exit 1: ended: failed", "finish: generation 0 of job a, which is failed in generation 0: stale generation"},
		{"finish of a cancelled job", append(running(), cancel("a")), finish("a", 1, api.Cancelled), "cancelled generation 1 on [t1 t2] exit 3: ended: cancelled", "finish: generation 1 of job a, which is cancelled in generation 1: stale generation"},
		{"cancel while it waits", pending(), cancel("a"), "cancelled generation 0 on [] exit 3: cancelled by a user", ""},
		{"cancel while it runs", running(), cancel("a"), "cancelling generation 1 on [t1 t2]: cancelled by a user", ""},
		{"resume", failed(), resume("a"), "pending generation 1 on []: waits to be inspected by a node", "resume: job a is pending, only a failed or cancelled one can be resumed: conflict"},
		{"publish", running(), publish("a", 1, 10), "running generation 1 on [t1 t2]: worker 0 runs", ""},
		{"register", nil, node("t1"), "t1 ready in s-t1: node t1 came up", "again"},
		{"register a new process", nodes(), with(node("t1"), func(c *Register) { c.Info.Session, c.Reason = "s2", "restarted" }), "t1 ready in s2: restarted", "again"},
		{"register after being lost", append(nodes(), setNode("t1", api.NodeLost)), node("t1"), "t1 ready in s-t1: node t1 came up", "again"},
		{"register after leaving", append(nodes(), setNode("t1", api.NodeLeft)), node("t1"), "t1 ready in s-t1: node t1 came up", "again"},
		{"node lost", nodes(), setNode("t1", api.NodeLost), "t1 lost in s-t1: node t1 is lost", ""},
		{"node back", append(nodes(), setNode("t1", api.NodeLost)), setNode("t1", api.NodeReady), "t1 ready in s-t1: node t1 is ready", ""},
		{"node left while lost", append(nodes(), setNode("t1", api.NodeLost)), setNode("t1", api.NodeLeft), "t1 left in s-t1: node t1 is left", ""},
		{"drain", nodes(), drain("t1", true), "t1 draining in s-t1: asked for", ""},
		{"undrain", append(nodes(), drain("t1", true)), drain("t1", false), "t1 ready in s-t1: asked for", ""},
		{"member", nil, member("c1"), "", ""},
		{"member elsewhere", []Body{member("c1")}, with(member("c1"), func(c *SetMember) { c.Member.Addr = "127.0.0.1:7500" }), "", ""},
		{"remove member", []Body{member("c1")}, &RemoveMember{"c1", "asked for"}, "", `remove-member: coordinator "c1": not found`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.do(c.before...)
			r := m.try(c.body)
			if r.Err != nil || r.Existing {
				t.Fatalf("existing %v, error %v", r.Existing, r.Err)
			}
			if got := shown(r); got != c.want {
				t.Errorf("found  %s\nwanted %s", got, c.want)
			}
			if r.Job != nil && r.Job != m.state().Job(r.Job.ID) || r.Node != nil && r.Node != m.state().Node(r.Node.Info.Name) {
				t.Error("the reply shows something else than the state")
			}
			last := unindexed(t, m.state(), true)
			r = m.try(c.body)
			switch {
			case c.again == "again": // a report of how things are: taken each time, with the same outcome
				if r.Err != nil || shown(r) != c.want {
					t.Errorf("again: %s, %v", shown(r), r.Err)
				}
				return
			case c.again == "" && (r.Err != nil || !r.Existing || shown(r) != c.want && r.Job == nil && r.Node != nil):
				t.Errorf("again: existing %v, %s, %v", r.Existing, shown(r), r.Err)
			case c.again != "" && (r.Err == nil || r.Err.Error() != c.again):
				t.Errorf("again: found  %v\nwanted %s", r.Err, c.again)
			}
			if now := unindexed(t, m.state(), true); now != last {
				t.Error("repeating it changed the state: " + differ(last, now))
			}
		})
	}
}

func shown(r Reply) string {
	switch j, n := r.Job, r.Node; {
	case j != nil && j.Over():
		return fmt.Sprintf("%s generation %d on %v exit %d: %s", j.State, j.Generation, j.Plan.Nodes, j.ExitCode, j.Reason)
	case j != nil:
		return fmt.Sprintf("%s generation %d on %v: %s", j.State, j.Generation, j.Plan.Nodes, j.Reason)
	case n != nil:
		return fmt.Sprintf("%s %s in %s: %s", n.Info.Name, n.Shown(), n.Info.Session, n.Reason)
	}
	return ""
}

// TestRefused gives each command states that do not take it. A refusal must
// change nothing but the index.
func TestRefused(t *testing.T) {
	stale, conflict, missing := ErrStaleGeneration, ErrConflict, ErrNotFound
	strictJob := with(inspected("a"), func(c *Inspected) { c.Inspection.Strict = true })
	// The nodes of b are held by it, t3 is free.
	other := append(looked(), submit("b"), inspected("b"), plan("b", 1, "t1", "t2"))
	for _, c := range []struct {
		name   string
		before []Body
		body   Body
		is     error
		want   string
	}{
		{"submit with a token of another request", pending(), with(submit("b"), func(c *Submit) { c.Request.Token, c.Request.Nodes = "token-a", 2 }), conflict,
			`submit: token "token-a" belongs to job a, which was submitted with another request: conflict`},
		{"submit with an ID that is taken", pending(), with(submit("a"), func(c *Submit) { c.Request.Token = "" }), conflict, "submit: the ID a is taken: conflict"},
		{"inspected, unknown job", nodes(), inspected("a"), missing, `inspected: job "a": not found`},
		{"inspected twice", looked(), inspected("a"), conflict, "inspected: job a is pending and needs no inspection: conflict"},
		{"inspected while it runs", running(), inspected("a"), conflict, "inspected: job a is running and needs no inspection: conflict"},

		{"plan, unknown job", nodes(), plan("a", 1, "t1"), missing, `plan: job "a": not found`},
		{"plan, unknown node", looked(), plan("a", 1, "t9"), missing, `plan: node "t9": not found`},
		{"plan, past generation", second(), plan("a", 1, "t1"), stale, "plan: generation 1 of job a, which is in generation 2: stale generation"},
		{"plan, generation left out", running(), plan("a", 3, "t1"), conflict, "plan: generation 3 cannot start: job a is running in generation 1: conflict"},
		{"plan before inspection", pending(), plan("a", 1, "t1"), conflict, "plan: generation 1 cannot start: job a is pending in generation 0: conflict"},
		{"plan while it is cancelled", append(running(), cancel("a")), plan("a", 2, "t1"), conflict, "plan: generation 2 cannot start: job a is cancelling in generation 1: conflict"},
		{"plan after its end", failed(), plan("a", 2, "t1"), conflict, "plan: generation 2 cannot start: job a is failed in generation 1: conflict"},
		{"plan of a strict job on another kind", append(pending(), strictJob, plan("a", 1, "t1")), with(plan("a", 2, "t2"), func(c *Plan) { c.Kind = "cpu-neon" }), conflict,
			"plan: strict job a runs on cpu-avx2, found a plan on cpu-neon: conflict"},
		{"plan on a node that restarted", append(looked(), with(node("t1"), func(c *Register) { c.Info.Session = "s2" })), plan("a", 1, "t1"), conflict,
			"plan: node t1 is ready in session s2, the plan was made for session s-t1: conflict"},
		{"plan on a lost node", append(looked(), setNode("t1", api.NodeLost)), plan("a", 1, "t1"), conflict, "plan: node t1 is lost in session s-t1, the plan was made for session s-t1: conflict"},
		{"plan on a node that left", append(looked(), setNode("t1", api.NodeLeft)), plan("a", 1, "t1"), conflict, "plan: node t1 is left in session s-t1, the plan was made for session s-t1: conflict"},
		{"plan on a draining node", append(looked(), drain("t1", true)), plan("a", 1, "t1"), conflict, "plan: node t1 is draining: conflict"},
		{"plan on another job's node", other, plan("a", 1, "t3", "t2"), conflict, "plan: node t2 works for job b: conflict"},

		{"unplan, unknown job", nodes(), unplan("a", 1, 0), missing, `unplan: job "a": not found`},
		{"unplan, past generation", second(), unplan("a", 1, 0), stale, "unplan: generation 1 of job a, which is starting in generation 2: stale generation"},
		{"unplan, future generation", running(), unplan("a", 2, 0), conflict, "unplan: generation 2 of job a, which is running in generation 1: conflict"},
		{"unplan before a plan", looked(), unplan("a", 0, 0), stale, "unplan: generation 0 of job a, which is pending in generation 0: stale generation"},
		{"unplan while it is cancelled", append(running(), cancel("a")), unplan("a", 1, 0), conflict, "unplan: job a is being cancelled: conflict"},

		{"started, unknown job", nodes(), started("a", 1), missing, `started: job "a": not found`},
		{"started, past generation", second(), started("a", 1), stale, "started: generation 1 of job a, which is starting in generation 2: stale generation"},
		{"started, future generation", starting(), started("a", 2), conflict, "started: generation 2 of job a, which is starting in generation 1: conflict"},
		{"started after its end", failed(), started("a", 1), stale, "started: generation 1 of job a, which is failed in generation 1: stale generation"},
		{"started after it was resumed", append(failed(), resume("a")), started("a", 1), stale, "started: generation 1 of job a, which is pending in generation 1: stale generation"},

		{"report, unknown job", nodes(), report("a", "t1", 0, 1, api.Failed), missing, `report: job "a": not found`},
		{"report, past generation", second(), report("a", "t2", 1, 1, api.Failed), stale, "report: generation 1 of job a, which is starting in generation 2: stale generation"},
		{"report, future generation", running(), report("a", "t1", 0, 2, api.Failed), conflict, "report: generation 2 of job a, which is running in generation 1: conflict"},
		{"report, past generation of an ended job", append(second(), finish("a", 2, api.Failed)), report("a", "t1", 0, 1, api.Failed), stale, "report: generation 1 of job a, which is failed in generation 2: stale generation"},
		{"report of a node that has no part", running(), report("a", "t3", 1, 1, api.Failed), conflict, "report: node t3 reports as worker 1 of job a, whose workers are on [t1 t2]: conflict"},
		{"report as another worker", running(), report("a", "t1", 1, 1, api.Failed), conflict, "report: node t1 reports as worker 1 of job a, whose workers are on [t1 t2]: conflict"},
		{"report of success without a result", running(), with(report("a", "t1", 0, 1, api.Succeeded), func(c *Report) { c.Report.Result = nil }), ErrInvalid,
			"report: worker 0 of job a reports success without a result: invalid"},

		{"finish, unknown job", nodes(), finish("a", 1, api.Failed), missing, `finish: job "a": not found`},
		{"finish, past generation", second(), finish("a", 1, api.Failed), stale, "finish: generation 1 of job a, which is starting in generation 2: stale generation"},
		{"finish, future generation", running(), finish("a", 2, api.Failed), conflict, "finish: generation 2 of job a, which is in generation 1: conflict"},
		{"finish as succeeded without a report", running(), finish("a", 1, api.Succeeded), conflict, "finish: job a cannot succeed without the result of worker 0: conflict"},
		{"finish as succeeded while it waits", looked(), finish("a", 0, api.Succeeded), conflict, "finish: job a cannot succeed without the result of worker 0: conflict"},
		{"finish as succeeded after worker 0 failed", append(running(), with(report("a", "t1", 0, 1, api.Failed), func(c *Report) { c.Report.Result = &api.Result{State: api.Failed} })), finish("a", 1, api.Succeeded), conflict,
			"finish: job a cannot succeed without the result of worker 0: conflict"},
		{"finish twice, otherwise", succeeded(), finish("a", 1, api.Failed), stale, "finish: generation 1 of job a, which is succeeded in generation 1: stale generation"},

		{"cancel, unknown job", nodes(), cancel("a"), missing, `cancel: job "a": not found`},
		{"cancel after success", succeeded(), cancel("a"), conflict, "cancel: job a has succeeded already: conflict"},
		{"cancel after failure", failed(), cancel("a"), conflict, "cancel: job a has failed already: conflict"},
		{"resume, unknown job", nodes(), resume("a"), missing, `resume: job "a": not found`},
		{"resume while it runs", running(), resume("a"), conflict, "resume: job a is running, only a failed or cancelled one can be resumed: conflict"},
		{"resume after success", succeeded(), resume("a"), conflict, "resume: job a is succeeded, only a failed or cancelled one can be resumed: conflict"},

		{"publish, unknown job", nodes(), publish("a", 1, 1), missing, `publish: job "a": not found`},
		{"publish, past generation", second(), publish("a", 1, 1), stale, "publish: generation 1 of job a, which is starting in generation 2: stale generation"},
		{"publish, future generation", running(), publish("a", 2, 1), conflict, "publish: generation 2 of job a, which is running in generation 1: conflict"},
		{"publish after its end", succeeded(), publish("a", 1, 1), stale, "publish: generation 1 of job a, which is succeeded in generation 1: stale generation"},

		{"node, unknown", nil, setNode("t1", api.NodeLost), missing, `node: node "t1": not found`},
		{"node, past session", append(nodes(), with(node("t1"), func(c *Register) { c.Info.Session = "s2" })), setNode("t1", api.NodeLost), conflict, "node: node t1 is in session s2, not s-t1: conflict"},
		{"node back after it left", append(nodes(), setNode("t1", api.NodeLeft)), setNode("t1", api.NodeReady), conflict, "node: node t1 left in session s-t1 and has to register again: conflict"},
		{"node lost after it left", append(nodes(), setNode("t1", api.NodeLeft)), setNode("t1", api.NodeLost), conflict, "node: node t1 left in session s-t1 and has to register again: conflict"},
		{"drain, unknown", nil, drain("t1", true), missing, `drain: node "t1": not found`},
		{"remove member, unknown", nil, &RemoveMember{"c1", "asked for"}, missing, `remove-member: coordinator "c1": not found`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.do(c.before...)
			refuse(t, m, c.body, c.is, c.want)
		})
	}
}

// refuse applies a command that must be refused with an error, wholly.
func refuse(t *testing.T, m *machine, b Body, is error, want string) {
	t.Helper()
	before := unindexed(t, m.state(), true)
	r := m.try(b)
	if r.Err == nil || r.Err.Error() != want || !errors.Is(r.Err, is) {
		t.Errorf("found  %v\nwanted %s, which is %q", r.Err, want, is)
	}
	if r.Job != nil || r.Node != nil || r.Existing {
		t.Errorf("the reply to a refused command shows something: %+v", r)
	}
	if after := unindexed(t, m.state(), true); after != before {
		t.Error("a refused command changed the state: " + differ(before, after))
	}
}

// TestUnfit gives commands that no state takes: Decode refuses them, and so does
// a replica that is handed the value.
func TestUnfit(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	const id = `want 1 to 64 letters, digits, - and _, the first a letter or digit`
	for _, c := range []struct {
		body Body
		want string
	}{
		{with(submit("a"), func(c *Submit) { c.ID = "../a" }), `submit: invalid: id: found "../a", ` + id},
		{with(submit("a"), func(c *Submit) { c.Name = long }), "submit: invalid: name: found 129 bytes, want 0 to 128"},
		{with(submit("a"), func(c *Submit) { c.Request.Spec = "" }), "submit: invalid: request.spec: found 0 bytes, want 1 to 65536"},
		{with(submit("a"), func(c *Submit) { c.Request.Spec = strings.Repeat("x", MaxSpec+1) }), "submit: invalid: request.spec: found 65537 bytes, want 1 to 65536"},
		{with(submit("a"), func(c *Submit) { c.Request.Token = long }), "submit: invalid: request.token: found 129 bytes, want 0 to 128"},
		{with(submit("a"), func(c *Submit) { c.Request.Nodes = -1 }), "submit: invalid: request.nodes: found -1, want 0 to 4096"},
		{with(submit("a"), func(c *Submit) { c.Request.VisionReplicas = 5000 }), "submit: invalid: request.vision_replicas: found 5000, want 0 to 4096"},
		{with(inspected("a"), func(c *Inspected) { c.Inspection.Steps = -1 }), "inspected: invalid: inspection.steps: found -1, want 0 to 2147483647"},
		{with(inspected("a"), func(c *Inspected) { c.Inspection.Profile.Towers = make([]shard.Tower, 17) }), "inspected: invalid: inspection.profile.towers: found 17, want 0 to 16"},
		{with(inspected("a"), func(c *Inspected) { c.Inspection.Error, c.Inspection.ExitCode = "bad", 256 }), "inspected: invalid: inspection.exit_code: found 256, want 0 to 255"},
		{&Wait{make([]Waiting, MaxOpen+1)}, "wait: invalid: jobs: found 2001, want 0 to 2000"},
		{waiting("a", ""), "wait: invalid: jobs.code: found 0 bytes, want 1 to 128"},
		{plan("a", 1), "plan: invalid: plan: no nodes"},
		{plan("a", 1, "t1", "t1"), "plan: invalid: plan: node t1 is named twice"},
		{plan("a", 1, "t1", "a.b"), `plan: invalid: plan.nodes: found "a.b", ` + id},
		{with(plan("a", 1, "t1"), func(c *Plan) { c.Plan.Stages[1].Owners[0] = 1 }), "plan: invalid: plan: stage 0 of the language tower names worker 1 of 1"},
		{with(plan("a", 1, "t1"), func(c *Plan) { c.Plan.Stages[0].Workers[0] = -1 }), "plan: invalid: plan: stage 0 of the vision tower names worker -1 of 1"},
		{with(plan("a", 1, "t1"), func(c *Plan) { c.Sessions = nil }), "plan: invalid: plan: 1 workers, 1 devices, 0 sessions"},
		{with(plan("a", 1, "t1"), func(c *Plan) { c.Plan.Microbatches = maxBatches + 1 }), "plan: invalid: plan: 1 workers, 2 stages, 1048577 microbatches, 1 lines of explanation"},
		{with(plan("a", 1, "t1"), func(c *Plan) { c.Kind = "" }), "plan: invalid: kind: found 0 bytes, want 1 to 128"},
		{unplan("a", 1, -1), "unplan: invalid: step: found -1, want 0 to 2147483647"},
		{started("", 1), `started: invalid: job: found "", ` + id},
		{report("a", "t1", -1, 1, api.Failed), "report: invalid: report.worker: found -1, want 0 to 4096"},
		{report("a", "t1", 0, 1, api.Running), `report: invalid: report.state: found "running", want one of succeeded, failed, cancelled`},
		{with(report("a", "t1", 0, 1, api.Failed), func(c *Report) { c.Report.Broken = make([]int, maxWorkers+1) }), "report: invalid: workers of report.broken: found 4097, want 0 to 4096"},
		{finish("a", 1, api.Running), `finish: invalid: state: found "running", want one of succeeded, failed, cancelled`},
		{with(finish("a", 1, api.Failed), func(c *Finish) { c.ExitCode = -1 }), "finish: invalid: exit_code: found -1, want 0 to 255"},
		{cancel("a b"), `cancel: invalid: job: found "a b", ` + id},
		{resume(""), `resume: invalid: job: found "", ` + id},
		{with(publish("a", 1, 1), func(c *Publish) { c.Published.SHA256 = "" }), "publish: invalid: published.sha256: found 0 bytes, want 1 to 128"},
		{with(publish("a", 1, 1), func(c *Publish) { c.Published.Nodes = []string{"?"} }), `publish: invalid: published.nodes: found "?", ` + id},
		{with(publish("a", 1, 1), func(c *Publish) { c.Keep = -1 }), "publish: invalid: keep: found -1, want 0 to 1048576"},
		{node("-t"), `register: invalid: info.name: found "-t", ` + id},
		{with(node("t1"), func(c *Register) { c.Info.Session = "" }), "register: invalid: info.session: found 0 bytes, want 1 to 128"},
		{with(node("t1"), func(c *Register) { c.Info.Devices[0].Name = "" }), "register: invalid: info.devices.name: found 0 bytes, want 1 to 128"},
		{with(node("t1"), func(c *Register) { c.Info.Tensors[0] = strings.Repeat("x", maxText+1) }), "register: invalid: info.tensors: a URL of 8193 bytes, want at most 8192"},
		{setNode("t1", api.NodeDraining), `node: invalid: state: found "draining", want one of ready, lost, left`},
		{drain("", true), `drain: invalid: name: found "", ` + id},
		{member(""), `member: invalid: member.id: found "", ` + id},
		{&RemoveMember{"c 1", ""}, `remove-member: invalid: id: found "c 1", ` + id},
	} {
		m := newMachine(t)
		m.do(running()...)
		raw := encoded(t, Command{at(0), c.body})
		if _, err := Decode(raw); err == nil || err.Error() != "command "+c.want || !errors.Is(err, ErrInvalid) {
			t.Errorf("Decode: found  %v\n        wanted command %s", err, c.want)
		}
		refuse(t, m, c.body, ErrInvalid, "command "+c.want)
		if s, r := m.state().Simulate(Command{at(9), c.body}); r.Err == nil || r.Err.Error() != "command "+c.want || unindexed(t, s, true) != unindexed(t, m.state(), true) {
			t.Errorf("Simulate: found  %v\n          wanted command %s", r.Err, c.want)
		}
	}
}

// TestDecodeRefuses what is no command of this version.
func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		raw  string
		is   error
		want string
	}{
		{``, ErrInvalid, "command: invalid: unexpected end of JSON input"},
		{`[]`, ErrInvalid, "command: invalid: json: cannot unmarshal array into Go value of type struct { V int \"json:\\\"v\\\"\"; Type string \"json:\\\"type\\\"\" }"},
		{`{"v":3,"type":"merge","at":3,"body":{"a":[]}}`, ErrVersion, `command "merge" has version 3, this coordinator understands up to 2: upgrade it: newer version`},
		{`{"v":0,"type":"drain"}`, ErrInvalid, `command "drain" has version 0, want 1 to 2: invalid`},
		{`{"type":"drain"}`, ErrInvalid, `command "drain" has version 0, want 1 to 2: invalid`},
		{`{"v":-1,"type":"drain"}`, ErrInvalid, `command "drain" has version -1, want 1 to 2: invalid`},
		{`{"v":1,"type":"merge"}`, ErrInvalid, `command of unknown type "merge": invalid`},
		{`{"v":1,"type":"drain","at":"2026-03-01T12:00:00Z","body":{"name":"t1"},"by":"c1"}`, ErrInvalid, `command drain: invalid: json: unknown field "by"`},
		{`{"v":1,"type":"drain","at":"2026-03-01T12:00:00Z","body":{"name":"t1","force":true}}`, ErrInvalid, `command drain: invalid: json: unknown field "force"`},
		{`{"v":1,"type":"drain","at":"yesterday","body":{"name":"t1"}}`, ErrInvalid, `command drain: invalid: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`},
		{`{"v":1,"type":"drain","at":"0000-01-01T00:00:00Z","body":{"name":"t1"}}`, ErrInvalid, `command drain: invalid: at: found the year 0`},
		{`{"v":1,"type":"drain","at":"9999-12-31T23:59:59-05:00","body":{"name":"t1"}}`, ErrInvalid, `command drain: invalid: at: found the year 10000`},
	} {
		if _, err := Decode([]byte(c.raw)); err == nil || err.Error() != c.want || !errors.Is(err, c.is) {
			t.Errorf("%s: found  %v\nwanted %s", c.raw, err, c.want)
		}
		m := newMachine(t)
		m.do(running()...)
		before := unindexed(t, m.state(), true)
		if r := m.log(100, []byte(c.raw)); !errors.Is(r.Err, c.is) || unindexed(t, m.state(), true) != before {
			t.Errorf("%s applied: %v", c.raw, r.Err)
		}
	}
	if _, err := Decode(make([]byte, MaxCommand+1)); err == nil || err.Error() != "command has 16777217 bytes, want at most 16777216: invalid" {
		t.Errorf("a huge command: %v", err)
	}
	if _, err := Encode(Command{}); err == nil || err.Error() != "command without a body: invalid" {
		t.Errorf("no body: %v", err)
	}
	huge := with(inspected("a"), func(c *Inspected) { c.Inspection.Wire = strings.Repeat("x", MaxCommand) })
	if _, err := Encode(Command{at(0), huge}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "command inspected has 16777") {
		t.Errorf("a huge body: %v", err)
	}
}
