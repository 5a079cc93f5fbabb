package server

import (
	"net/http"

	"ressa/coordinator/api"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

func (s *Server) nodes(http.ResponseWriter, *http.Request) (any, error) {
	now, view := s.Cluster.State(), s.Cluster.View()
	out := api.NodeList{Nodes: []api.NodeRecord{}}
	for _, n := range now.Nodes() {
		out.Nodes = append(out.Nodes, schedule.NodeRecord(now, n, view))
	}
	return out, nil
}

func (s *Server) beat(_ http.ResponseWriter, r *http.Request) (any, error) {
	var b api.Beat
	if err := read(r, &b); err != nil {
		return nil, err
	}
	return s.Cluster.Beat(r.Context(), r.PathValue("name"), b)
}

func (s *Server) drain(_ http.ResponseWriter, r *http.Request) (any, error) {
	var d api.Drain
	if err := read(r, &d); err != nil {
		return nil, err
	}
	reply, err := s.Cluster.Propose(r.Context(), &state.Drain{Name: r.PathValue("name"), Drain: d.Drain, Reason: "asked for by a user"})
	if err != nil {
		return nil, err
	}
	return schedule.NodeRecord(s.Cluster.State(), reply.Node, s.Cluster.View()), nil
}

func (s *Server) cluster(http.ResponseWriter, *http.Request) (any, error) { return s.members(), nil }

func (s *Server) members() api.Cluster {
	out := api.Cluster{Members: append([]api.Member{}, s.Cluster.Members()...)}
	if leader, _, ok := s.Cluster.Leader(); ok {
		out.Leader = leader.ID
	}
	return out
}

func (s *Server) join(_ http.ResponseWriter, r *http.Request) (any, error) {
	var m api.Member
	if err := read(r, &m); err != nil {
		return nil, err
	}
	join := s.Cluster.Join
	if r.URL.Query().Get("empty") == "1" {
		join = s.Cluster.JoinEmpty
	}
	if err := join(r.Context(), m); err != nil {
		return nil, err
	}
	return s.members(), nil
}

func (s *Server) leave(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := s.Cluster.Leave(r.Context(), r.PathValue("id")); err != nil {
		return nil, err
	}
	return s.members(), nil
}

func (s *Server) healthy(http.ResponseWriter, *http.Request) (any, error) {
	return map[string]string{"id": s.Cluster.ID(), "version": s.Version}, nil
}

func (s *Server) ready(http.ResponseWriter, *http.Request) (any, error) {
	leader, _, ok := s.Cluster.Leader()
	if !ok {
		return nil, noLeader("no coordinator leads at the moment")
	}
	return map[string]string{"id": s.Cluster.ID(), "leader": leader.ID}, nil
}
