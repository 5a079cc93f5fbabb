package state

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ressa/coordinator/api"
	"ressa/shard"
)

// named is what names nodes, jobs and coordinators: it goes into file names,
// subjects and URLs.
var named = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

func name(field, s string) error {
	if !named.MatchString(s) {
		return fmt.Errorf("%s: found %q, want 1 to 64 letters, digits, - and _, the first a letter or digit", field, s[:min(len(s), 80)])
	}
	return nil
}

func short(field, s string, atLeast int) error {
	if len(s) < atLeast || len(s) > maxName {
		return fmt.Errorf("%s: found %d bytes, want %d to %d", field, len(s), atLeast, maxName)
	}
	return nil
}

func count(field string, n, most int) error {
	if n < 0 || n > most {
		return fmt.Errorf("%s: found %d, want 0 to %d", field, n, most)
	}
	return nil
}

func oneOf(field, s string, allowed ...string) error {
	if !slices.Contains(allowed, s) {
		return fmt.Errorf("%s: found %q, want one of %s", field, s[:min(len(s), 80)], strings.Join(allowed, ", "))
	}
	return nil
}

// cut shortens a text for people to its bound.
func cut(texts ...*string) {
	for _, t := range texts {
		if len(*t) <= maxText {
			continue
		}
		end := maxText - len("…") // so that a cut text is not cut again
		for end > 0 && !utf8.RuneStart((*t)[end]) {
			end--
		}
		*t = (*t)[:end] + "…"
	}
}

// instant brings a time into the one form that survives a snapshot.
func instant(field string, t *time.Time) error {
	u := t.UTC().Round(0)
	if y := u.Year(); y < 1 || y > 9999 {
		return fmt.Errorf("%s: found the year %d", field, y)
	}
	*t = u
	return nil
}

func (c *Submit) check() error {
	r := c.Request
	if r.Spec == "" || len(r.Spec) > MaxSpec {
		return fmt.Errorf("request.spec: found %d bytes, want 1 to %d", len(r.Spec), MaxSpec)
	}
	return errors.Join(name("id", c.ID), short("name", c.Name, 0), short("request.token", r.Token, 0), count("request.nodes", r.Nodes, maxWorkers),
		count("request.vision_replicas", r.VisionReplicas, maxWorkers), count("request.language_replicas", r.LanguageReplicas, maxWorkers))
}

func (c *Inspected) check() error {
	in := &c.Inspection
	cut(&in.Error)
	if in.Error != "" {
		return errors.Join(name("job", c.Job), count("inspection.exit_code", in.ExitCode, 255))
	}
	blocks := 0
	for _, t := range in.Profile.Towers {
		blocks += len(t.Blocks)
	}
	return errors.Join(name("job", c.Job), short("inspection.name", in.Name, 0), count("inspection.steps", in.Steps, 1<<31-1),
		count("inspection.microbatches", in.Microbatches, maxBatches), count("inspection.profile.towers", len(in.Profile.Towers), 16),
		count("blocks of inspection.profile", blocks, maxBlocks))
}

func (c *Wait) check() error {
	if err := count("jobs", len(c.Jobs), MaxOpen); err != nil {
		return err
	}
	for i := range c.Jobs {
		cut(&c.Jobs[i].Reason)
		if err := short("jobs.code", c.Jobs[i].Code, 1); err != nil {
			return err
		}
	}
	return nil
}

func (c *Plan) check() error {
	cut(&c.Reason)
	for i := range c.Explanation {
		cut(&c.Explanation[i])
	}
	n := len(c.Plan.Nodes)
	if n > maxWorkers || len(c.Plan.Stages) > maxBlocks || c.Plan.Microbatches > maxBatches || len(c.Explanation) > 2*maxWorkers {
		return fmt.Errorf("plan: %d workers, %d stages, %d microbatches, %d lines of explanation", n, len(c.Plan.Stages), c.Plan.Microbatches, len(c.Explanation))
	}
	if len(c.Devices) != n || len(c.Sessions) != n {
		return fmt.Errorf("plan: %d workers, %d devices, %d sessions", n, len(c.Devices), len(c.Sessions))
	}
	if err := whole(c.Plan); err != nil {
		return err
	}
	return errors.Join(name("job", c.Job), short("kind", c.Kind, 1), count("step", c.Step, 1<<31-1))
}

// whole refuses a plan that the state could not work with: nodes that are named
// twice and workers that there are not. That it covers the work is checked by who
// made it; replicas must not depend on the planner's version.
func whole(p shard.Plan) error {
	if len(p.Nodes) == 0 {
		return errors.New("plan: no nodes")
	}
	seen := make(map[string]bool, len(p.Nodes))
	for _, n := range p.Nodes {
		if err := name("plan.nodes", n); err != nil {
			return err
		}
		if seen[n] {
			return fmt.Errorf("plan: node %s is named twice", n)
		}
		seen[n] = true
	}
	for _, s := range p.Stages {
		for _, w := range slices.Concat(s.Workers, s.Owners) {
			if w < 0 || w >= len(p.Nodes) {
				return fmt.Errorf("plan: stage %d of the %s tower names worker %d of %d", s.Index, s.Tower, w, len(p.Nodes))
			}
		}
	}
	return nil
}

func (c *Unplan) check() error {
	cut(&c.Reason)
	return errors.Join(name("job", c.Job), count("step", c.Step, 1<<31-1))
}

func (c *Started) check() error {
	cut(&c.Reason)
	return name("job", c.Job)
}

func (c *Report) check() error {
	r := &c.Report
	cut(&r.Error)
	return errors.Join(name("job", c.Job), name("report.node", r.Node), count("report.worker", r.Worker, maxWorkers),
		oneOf("report.state", r.State, api.Succeeded, api.Failed, api.Cancelled), count("report.exit_code", r.ExitCode, 255),
		count("workers of report.broken", len(r.Broken), maxWorkers), instant("report.At", &r.At))
}

func (c *Finish) check() error {
	cut(&c.Reason)
	return errors.Join(name("job", c.Job), oneOf("state", c.State, api.Succeeded, api.Failed, api.Cancelled),
		count("exit_code", c.ExitCode, 255), count("step", c.Step, 1<<31-1), short("node", c.Node, 0))
}

func (c *Cancel) check() error {
	cut(&c.Reason)
	return name("job", c.Job)
}

func (c *Resume) check() error {
	cut(&c.Reason)
	return name("job", c.Job)
}

func (c *Publish) check() error {
	p := c.Published
	err := errors.Join(name("job", c.Job), count("published.step", p.Step, 1<<31-1), short("published.sha256", p.SHA256, 1),
		count("nodes of published", len(p.Nodes), maxWorkers), count("keep", c.Keep, 1<<20))
	for _, n := range p.Nodes {
		err = errors.Join(err, name("published.nodes", n))
	}
	if len(p.Store) > maxText {
		err = errors.Join(err, fmt.Errorf("published.store: a URL of %d bytes, want at most %d", len(p.Store), maxText))
	}
	return err
}

func (c *Register) check() error {
	cut(&c.Reason)
	i := &c.Info
	err := errors.Join(name("info.name", i.Name), short("info.session", i.Session, 1), short("info.version", i.Version, 0),
		count("info.devices", len(i.Devices), 64), count("info.tensors", len(i.Tensors), 64), count("info.threads", i.Threads, 1<<20))
	for d := range i.Devices {
		cut(&i.Devices[d].Note)
		err = errors.Join(err, short("info.devices.name", i.Devices[d].Name, 1), short("info.devices.kind", i.Devices[d].Kind, 0))
	}
	for _, u := range i.Tensors {
		if len(u) > maxText {
			err = errors.Join(err, fmt.Errorf("info.tensors: a URL of %d bytes, want at most %d", len(u), maxText))
		}
	}
	return err
}

func (c *SetNode) check() error {
	cut(&c.Reason)
	return errors.Join(name("name", c.Name), short("session", c.Session, 1), oneOf("state", c.State, api.NodeReady, api.NodeLost, api.NodeLeft))
}

func (c *Drain) check() error {
	cut(&c.Reason)
	return name("name", c.Name)
}

func (c *SetMember) check() error {
	m := &c.Member
	m.Leader, m.Alive = false, false
	cut(&m.Addr, &m.Hub, &m.Routes)
	return errors.Join(name("member.id", m.ID), short("member.version", m.Version, 0))
}

func (c *RemoveMember) check() error {
	cut(&c.Reason)
	return name("id", c.ID)
}
