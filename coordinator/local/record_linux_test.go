package local_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// recorded begins the tokens of jobs that a recorder submits, and the names of its nodes.
const recorded = "recorded-"

// recorder calls the API of random coordinators through a whole storm and keeps what
// came of it. Its jobs ask for more nodes than there are; its nodes have left.
type recorder struct {
	t     *testing.T
	urls  []string
	spec  string
	began time.Time
	stop  chan struct{}
	tasks sync.WaitGroup

	mu    sync.Mutex
	calls []call
	ids   map[string]string // of jobs, by token
	told  []history
}

// history is what one coordinator told of a job's decisions.
type history struct {
	job, url  string
	decisions []api.Decision
}

const (
	recorders     = 3
	recorderPause = 200 * time.Millisecond
	turnEvery     = 6 * time.Second // another job and another node
	recorderNodes = 4
)

// record begins to record, from both sites.
func (s *storm) record() *recorder {
	s.t.Helper()
	spec, err := os.ReadFile(filepath.Join(s.dir, "job.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	r := &recorder{t: s.t, urls: strings.Split(s.urls, ","), spec: string(spec), began: time.Now(), stop: make(chan struct{}), ids: map[string]string{}}
	for i := range recorderNodes {
		client := caller(s.sites[1], 5*time.Second)
		if !s.within(30*time.Second, func() bool { err = r.node(client, fmt.Sprint(recorded, i)); return err == nil }) {
			s.t.Fatal(err)
		}
	}
	for i := range recorders {
		dice, client := rand.New(rand.NewPCG(s.dice.Uint64(), 1)), caller(s.sites[i%2], 2*time.Second)
		r.tasks.Go(func() {
			for {
				select {
				case <-r.stop:
					return
				case <-time.After(time.Duration(dice.Int64N(int64(2 * recorderPause)))):
					r.once(i, client, dice)
				}
			}
		})
	}
	s.t.Cleanup(r.end)
	return r
}

// node registers a node that leaves at once: whether it drains is remembered.
func (r *recorder) node(client *http.Client, name string) error {
	info := api.NodeInfo{Name: name, Session: "s", PID: 1, Threads: 1, Tensors: []string{"nats://127.0.0.1:1"},
		Devices: []api.Device{{Name: "cpu", Kind: "none", Speed: 1, Memory: 1}}, Bandwidth: 1, Latency: 1}
	health, err := client.Get(r.urls[0] + "/healthz")
	if err != nil {
		return err
	}
	var says struct{ Version string }
	err = json.NewDecoder(health.Body).Decode(&says)
	_ = health.Body.Close()
	if err != nil {
		return err
	}
	info.Version = says.Version
	for _, b := range []api.Beat{{Session: "s", Info: &info, Tasks: []api.Task{}}, {Session: "s", Tasks: []api.Task{}, Leaving: true}} {
		if status, err := r.send(client, r.urls[0], http.MethodPost, "/v1/nodes/"+name+"/beat", b, nil); err != nil || status != http.StatusOK {
			return fmt.Errorf("beat of %s: %d: %w", name, status, err)
		}
	}
	return nil
}

// send makes one attempt of a call. An answer that is not understood is none.
func (r *recorder) send(client *http.Client, url, method, path string, in, out any) (status int, err error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, url+path, body)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 == 2 && out != nil {
		err = json.Unmarshal(raw, out)
	}
	return resp.StatusCode, err
}

// once makes one random call about what is in turn.
func (r *recorder) once(client int, h *http.Client, dice *rand.Rand) {
	turn := int(time.Since(r.began) / turnEvery)
	if dice.IntN(3) == 0 {
		r.aboutNode(client, h, dice.IntN(3), fmt.Sprint(recorded, turn%recorderNodes), r.urls[dice.IntN(len(r.urls))])
		return
	}
	if turn > 0 && dice.IntN(3) == 0 {
		turn-- // the one before is not done with
	}
	r.aboutJob(client, h, dice.IntN(9), fmt.Sprint(recorded, turn), r.urls[dice.IntN(len(r.urls))])
}

func (r *recorder) aboutNode(client int, h *http.Client, what int, name, url string) {
	c := call{client: client, key: "node " + name, do: []string{"drain", "undrain", "read"}[what], begin: time.Since(r.began)}
	draining, known := false, false
	if c.do == "read" {
		var list api.NodeList
		status, err := r.send(h, url, http.MethodGet, "/v1/nodes", nil, &list)
		i := slices.IndexFunc(list.Nodes, func(n api.NodeRecord) bool { return n.Name == name })
		if known = err == nil && status == http.StatusOK; known && i < 0 {
			r.t.Errorf("node %s is forgotten", name)
			return
		}
		draining = known && list.Nodes[i].Draining
	} else {
		var n api.NodeRecord
		status, err := r.send(h, url, http.MethodPost, "/v1/nodes/"+name+"/drain", api.Drain{Drain: c.do == "drain"}, &n)
		known, draining = err == nil && status == http.StatusOK, n.Draining
	}
	if known {
		c.said = map[bool]string{true: "drained", false: "undrained"}[draining]
	}
	r.keep(c)
}

func (r *recorder) aboutJob(client int, h *http.Client, what int, token, url string) {
	r.mu.Lock()
	id := r.ids[token]
	r.mu.Unlock()
	c := call{client: client, key: "job " + token, do: []string{"submit", "cancel", "resume", "read", "read", "read", "list", "list", "history"}[what], begin: time.Since(r.began)}
	if id == "" {
		c.do = "submit" // nobody knows it yet
	}
	var j api.JobRecord
	var status int
	var err error
	switch c.do {
	case "history":
		var told api.History
		if status, err := r.send(h, url, http.MethodGet, "/v1/jobs/"+id+"/history", nil, &told); err == nil && status == http.StatusOK {
			r.mu.Lock()
			r.told = append(r.told, history{id, url, told.Decisions})
			r.mu.Unlock()
		}
		return
	case "submit":
		status, err = r.send(h, url, http.MethodPost, "/v1/jobs", api.JobRequest{Spec: r.spec, Nodes: 8, Token: token}, &j)
	case "list":
		c.do = "read"
		var list api.JobList
		status, err = r.send(h, url, http.MethodGet, "/v1/jobs", nil, &list)
		j.Status.State, j.ID = absent, id
		if i := slices.IndexFunc(list.Jobs, func(j api.JobRecord) bool { return j.Request.Token == token }); i >= 0 {
			j = list.Jobs[i]
		}
	case "read":
		status, err = r.send(h, url, http.MethodGet, "/v1/jobs/"+id, nil, &j)
	default:
		status, err = r.send(h, url, http.MethodPost, "/v1/jobs/"+id+"/"+c.do, struct{}{}, &j)
	}
	switch {
	case err != nil: // no answer
	case status/100 == 2:
		if c.said = j.Status.State; id != "" && j.ID != id {
			r.t.Errorf("%s of the job with token %s answers with job %s, it was %s", c.do, token, j.ID, id)
		}
	case status == http.StatusNotFound:
		c.said = absent
	case status == http.StatusConflict && c.do == "resume":
		c.said = "pending" // somebody else has resumed it
	case status == http.StatusConflict && c.do == "cancel":
		c.said = "failed"
	case status < 500:
		r.t.Errorf("%s of job %s: status %d", c.do, token, status)
	}
	r.keep(c)
	if c.do == "submit" && c.said != "" {
		r.mu.Lock()
		if known := r.ids[token]; known != "" && known != j.ID {
			r.t.Errorf("token %s has jobs %s and %s", token, known, j.ID)
		}
		r.ids[token] = j.ID
		r.mu.Unlock()
	}
}

func (r *recorder) keep(c call) {
	c.end = time.Since(r.began)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
}

// end stops recording.
func (r *recorder) end() {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.tasks.Wait()
}

// check ends recording, looks at everything once more, and checks the history.
func (r *recorder) check(s *storm) {
	r.end()
	h := caller(s.sites[1], 5*time.Second)
	for token := range r.ids {
		r.aboutJob(recorders, h, 3, token, r.urls[1])
	}
	for i := range recorderNodes {
		r.aboutNode(recorders, h, 2, fmt.Sprint(recorded, i), r.urls[1])
	}
	unknown := 0
	for _, c := range r.calls {
		if c.said == "" {
			unknown++
		}
	}
	s.say("%d calls of the API about %d jobs and %d nodes, %d without an answer", len(r.calls), len(r.ids), recorderNodes, unknown)
	if unknown > len(r.calls)*3/4 || len(r.ids) == 0 {
		r.t.Errorf("%d of %d calls had no answer, %d jobs", unknown, len(r.calls), len(r.ids))
	}
	r.beginnings(h)
	if ok, bad := linearizable(r.calls); !ok {
		var text strings.Builder
		for _, c := range bad {
			fmt.Fprintln(&text, c)
		}
		r.t.Errorf("there is no order in which this can have happened:\n%s", text.String())
	}
}

// beginnings checks that what any coordinator told of a job's history is the beginning
// of what it is in the end: it may lag, and no more.
func (r *recorder) beginnings(h *http.Client) {
	final := map[string][]api.Decision{}
	for _, t := range r.told {
		if final[t.job] == nil {
			for _, url := range r.urls { // one of them has it all
				var whole api.History
				if status, err := r.send(h, url, http.MethodGet, "/v1/jobs/"+t.job+"/history", nil, &whole); err != nil || status != http.StatusOK {
					r.t.Errorf("history of %s: %d: %v", t.job, status, err)
				}
				if len(whole.Decisions) > len(final[t.job]) {
					final[t.job] = whole.Decisions
				}
			}
		}
		whole := final[t.job]
		same := func(a, b api.Decision) bool { return a.Index == b.Index && a.Action == b.Action && a.At.Equal(b.At) }
		if n := len(t.decisions); n > len(whole) || !slices.EqualFunc(t.decisions, whole[:n], same) {
			r.t.Errorf("%s told of job %s\n%v\nwhich is not the beginning of\n%v", t.url, t.job, t.decisions, whole)
		}
	}
}
