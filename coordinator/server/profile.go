package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"ressa/coordinator/api"
)

// profileWait is how long nodes may take beside the time that a profile is of.
const profileWait = 20 * time.Second

// profile answers with what the nodes of a running job do during its next steps.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) (any, error) {
	j, err := s.find(r)
	if err != nil {
		return nil, err
	}
	ask := api.ProfileRequest{Job: j.ID, Steps: 10, Seconds: 30}
	if err := numbers(r.URL.Query(), map[string]*int{"steps": &ask.Steps, "seconds": &ask.Seconds}); err != nil {
		return nil, err
	}
	if err := ask.Check(); err != nil {
		return nil, invalid(err)
	}
	if j.State != api.Running {
		return nil, &refusal{http.StatusConflict, api.ExitFailed, fmt.Sprintf("job %s is %s: want one that runs", j.ID, j.State)}
	}
	// The deadline of requests is shorter than that.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // not there in tests without a connection
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(ask.Seconds)*time.Second+profileWait)
	defer cancel()
	type answer struct {
		profile api.NodeProfile
		err     error
	}
	nodes := slices.Sorted(slices.Values(j.Plan.Nodes))
	answers := fanOut(nodes, func(node string) (a answer) {
		a.err = s.ask(ctx, api.ProfileSubject(node), ask, &a.profile)
		return a
	})
	out := api.Profile{Job: j.ID, Nodes: []api.NodeProfile{}}
	for _, node := range nodes {
		a := answers[node]
		if a.err != nil {
			out.Missing = append(out.Missing, api.Taken{Node: node, Reason: a.err.Error()})
			continue
		}
		a.profile.Node = node // whatever it calls itself
		out.Nodes = append(out.Nodes, a.profile)
	}
	if len(out.Nodes) == 0 {
		text := fmt.Sprintf("no node of job %s gave a profile", j.ID)
		for _, m := range out.Missing {
			text += fmt.Sprintf("; %s: %s", m.Node, m.Reason)
		}
		return nil, &refusal{http.StatusServiceUnavailable, api.ExitFailed, text}
	}
	return out, nil
}
