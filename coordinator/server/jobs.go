package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"ressa/coordinator/api"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

// parse checks a job before anything is done with it.
func parse(r *http.Request) (api.JobRequest, api.Job, error) {
	var request api.JobRequest
	if err := read(r, &request); err != nil {
		return request, api.Job{}, err
	}
	if len(request.Spec) > state.MaxSpec {
		return request, api.Job{}, invalid(fmt.Errorf("spec: %d bytes, want at most %d", len(request.Spec), state.MaxSpec))
	}
	j, err := api.ParseJob("job", strings.NewReader(request.Spec))
	if err != nil {
		return request, j, invalid(err)
	}
	for field, n := range map[string]int{"nodes": request.Nodes, "vision_replicas": request.VisionReplicas, "language_replicas": request.LanguageReplicas} {
		if n < 0 || n > j.Train.Microbatches {
			return request, j, invalid(fmt.Errorf("%s: %d, want 0 to the %d microbatches of a step (train.microbatches)", field, n, j.Train.Microbatches))
		}
	}
	return request, j, nil
}

// newID draws 8 letters and digits.
func newID() string { return strings.ToLower(rand.Text()[:8]) }

func (s *Server) submit(_ http.ResponseWriter, r *http.Request) (any, error) {
	request, j, err := parse(r)
	if err != nil {
		return nil, err
	}
	var reply state.Reply
	for range 4 { // an ID that is taken is drawn anew
		reply, err = s.Cluster.Propose(r.Context(), &state.Submit{ID: newID(), Name: j.Name, Request: request})
		if !errors.Is(err, state.ErrConflict) || s.Cluster.State().Submitted(request.Token) != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return s.record(reply.Job), nil
}

// record returns a job as the API shows it.
func (s *Server) record(j *state.Job) api.JobRecord {
	leader := ""
	if m, _, ok := s.Cluster.Leader(); ok {
		leader = m.ID
	}
	return schedule.Record(j, s.Cluster.View(), s.Cluster.Schedule(), leader, s.Cluster.Waiting(j.ID))
}

func (s *Server) jobs(http.ResponseWriter, *http.Request) (any, error) {
	out := api.JobList{Jobs: []api.JobRecord{}}
	for _, j := range s.Cluster.State().Jobs() {
		out.Jobs = append(out.Jobs, s.record(j))
	}
	return out, nil
}

func (s *Server) find(r *http.Request) (*state.Job, error) {
	return s.Cluster.State().Find(r.PathValue("id"))
}

func (s *Server) job(_ http.ResponseWriter, r *http.Request) (any, error) {
	j, err := s.find(r)
	if err != nil {
		return nil, err
	}
	return s.record(j), nil
}

func (s *Server) history(_ http.ResponseWriter, r *http.Request) (any, error) {
	j, err := s.find(r)
	if err != nil {
		return nil, err
	}
	return historyOf(j), nil
}

func historyOf(j *state.Job) api.History {
	return api.History{Decisions: append([]api.Decision{}, j.History...), Changes: append([]api.Change{}, state.Changes(j)...)}
}

// explain says how the job came to be where it is: what happened to it, oldest
// first, and why its plan is as it is.
func (s *Server) explain(_ http.ResponseWriter, r *http.Request) (any, error) {
	j, err := s.find(r)
	if err != nil {
		return nil, err
	}
	record := s.record(j)
	out := api.Explanation{Lines: []string{fmt.Sprintf("job %s (%s) is %s: %s", j.ID, j.Name, j.State, record.Reason)}, Changes: append([]api.Change{}, state.Changes(j)...)}
	if cost := api.Cost(out.Changes); cost != "" {
		out.Lines = append(out.Lines, cost+":")
		for _, c := range out.Changes {
			out.Lines = append(out.Lines, "  "+c.String())
		}
		out.Lines = append(out.Lines, "what was decided:")
	}
	for _, d := range j.History {
		where := ""
		if d.Node != "" {
			where = " (" + d.Node + ")"
		}
		out.Lines = append(out.Lines, fmt.Sprintf("%s %s%s: %s", d.At.UTC().Format("15:04:05.000"), d.Action, where, d.Reason))
	}
	if len(j.Explanation) > 0 {
		out.Lines = append(out.Lines, fmt.Sprintf("the plan of generation %d:", j.Generation))
		out.Lines = append(out.Lines, j.Explanation...)
	}
	return out, nil
}

func (s *Server) cancel(_ http.ResponseWriter, r *http.Request) (any, error) {
	j, err := s.find(r)
	if err != nil {
		return nil, err
	}
	if j.Over() {
		return s.record(j), nil
	}
	reply, err := s.Cluster.Propose(r.Context(), &state.Cancel{Job: j.ID, Reason: "cancelled by a user"})
	if err != nil {
		return nil, err
	}
	return s.record(reply.Job), nil
}

func (s *Server) resume(_ http.ResponseWriter, r *http.Request) (any, error) {
	j, err := s.find(r)
	if err != nil {
		return nil, err
	}
	if j.State == api.Pending || j.State == api.Starting || j.State == api.Running {
		return s.record(j), nil // a cluster that was down goes on by itself
	}
	if j.State == api.Succeeded {
		return nil, api.Invalid(fmt.Errorf("job %s has succeeded; there is nothing to resume", j.ID))
	}
	reply, err := s.Cluster.Propose(r.Context(), &state.Resume{Job: j.ID, Reason: "resumed by a user"})
	if err != nil {
		return nil, err
	}
	return s.record(reply.Job), nil
}

func (s *Server) report(_ http.ResponseWriter, r *http.Request) (any, error) {
	var report api.Report
	if err := read(r, &report); err != nil {
		return nil, err
	}
	if _, err := s.Cluster.Propose(r.Context(), &state.Report{Job: r.PathValue("id"), Report: report}); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

func (s *Server) publish(_ http.ResponseWriter, r *http.Request) (any, error) {
	var p api.Published
	if err := read(r, &p); err != nil {
		return nil, err
	}
	if _, err := s.Cluster.Propose(r.Context(), &state.Publish{Job: r.PathValue("id"), Published: p}); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

func (s *Server) plan(_ http.ResponseWriter, r *http.Request) (any, error) {
	request, _, err := parse(r)
	if err != nil {
		return nil, err
	}
	return s.Cluster.Plan(r.Context(), request)
}
