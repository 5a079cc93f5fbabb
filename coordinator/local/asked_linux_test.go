package local_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"ressa/coordinator/api"
)

// caller calls the API from a machine or site, one attempt a call.
func caller(namespace string, timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true, // a new connection shows what the network is like now
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			err = inside(namespace, func() (err error) {
				c, err = (&net.Dialer{}).DialContext(ctx, network, address)
				return err
			})
			return c, err
		},
	}}
}

// read asks one coordinator after the other until one answers.
func (s *storm) read(path string, out any) error {
	var last error
	client := caller(s.sites[1], 3*time.Second)
	for _, url := range strings.Split(s.urls, ",") {
		resp, err := client.Get(url + path)
		if err == nil {
			err = json.NewDecoder(resp.Body).Decode(out)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return nil
			}
			if err == nil {
				err = fmt.Errorf("%s%s: %s", url, path, resp.Status)
			}
		}
		last = err
	}
	return last
}

// await waits until so many nodes are ready.
func (s *storm) await(want int) {
	s.t.Helper()
	var found int
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var list api.NodeList
		if s.read("/v1/nodes", &list) == nil {
			found = len(slices.DeleteFunc(list.Nodes, func(n api.NodeRecord) bool { return n.State != api.NodeReady }))
		}
		if found == want {
			return
		}
	}
	s.t.Fatalf("%d nodes are ready, want %d", found, want)
}

// leader returns the coordinator that leads, nil where none answers.
func (s *storm) leader() *process {
	var c api.Cluster
	if s.read("/v1/cluster", &c) != nil {
		return nil
	}
	return s.named(c.Leader)
}

func (s *storm) named(name string) *process {
	if i := slices.IndexFunc(s.nodes, func(p *process) bool { return p.name == name }); i >= 0 {
		return s.nodes[i]
	}
	return nil
}

// job returns the newest job that is no recorder's; nil where nobody answers.
func (s *storm) job() *api.JobRecord {
	var list api.JobList
	if s.read("/v1/jobs", &list) != nil {
		return nil
	}
	list.Jobs = slices.DeleteFunc(list.Jobs, func(j api.JobRecord) bool { return strings.HasPrefix(j.Request.Token, recorded) })
	if len(list.Jobs) == 0 {
		return nil
	}
	return &list.Jobs[0]
}

// generation returns that of the newest job; 0 where nobody answers.
func (s *storm) generation() int {
	if j := s.job(); j != nil {
		return j.Status.Generation
	}
	return 0
}

// chief returns the node that keeps the run of the newest job, nil where nobody tells.
func (s *storm) chief() *process {
	if j := s.job(); j != nil && len(j.Plan.Nodes) > 0 {
		return s.named(j.Plan.Nodes[0])
	}
	return nil
}

// history adds what the cluster says of the job to the story.
func (s *storm) history() {
	if j := s.job(); j != nil {
		if raw, err := s.ask("history", j.ID); err == nil {
			s.say("history\n%s", raw)
		}
	}
}
