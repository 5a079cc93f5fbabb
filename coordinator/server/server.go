package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/cluster"
	"ressa/coordinator/joblog"
	"ressa/coordinator/schedule"
	"ressa/coordinator/snapshot"
	"ressa/coordinator/state"
)

// Cluster is what the API needs of the member it belongs to. Package cluster
// implements it.
type Cluster interface {
	ID() string
	State() *state.State
	Watch() (*state.State, <-chan struct{})
	Leader() (leader api.Member, self, ok bool)
	Confirm(ctx context.Context) error
	Propose(ctx context.Context, b state.Body) (state.Reply, error)
	Beat(ctx context.Context, node string, b api.Beat) (api.BeatReply, error)
	Schedule() schedule.Config
	View() schedule.View
	Waiting(job string) string
	Plan(ctx context.Context, r api.JobRequest) (api.PlanReply, error)
	Members() []api.Member
	Join(ctx context.Context, m api.Member) error
	JoinEmpty(ctx context.Context, m api.Member) error
	Leave(ctx context.Context, id string) error
	Snapshot(ctx context.Context) (snapshot.Meta, []byte, error)
	Restore(ctx context.Context, m snapshot.Meta, state []byte) (cluster.Restored, error)
	Hub() *nats.Conn
}

// Config says what a server serves.
type Config struct {
	Cluster Cluster
	Lines   *joblog.Store
	TLS     *tls.Config // towards other members
	Logger  *slog.Logger
	Version string
	// Page answers what is no path of the API; nil answers that there is none.
	Page http.Handler
	// Patience is how long a client may take for a part of an answer; 0 is 30 s.
	Patience time.Duration
}

// maxBody bounds a request's body in bytes.
const maxBody = 2 << 20

// forwarded marks a request that another member has passed on.
const forwarded = "Ressa-Forwarded-By"

// Server serves the API. Make one with [New].
type Server struct {
	Config
	http    *http.Server
	life    context.Context
	stop    context.CancelFunc
	forward http.RoundTripper
}

// New returns a server.
func New(c Config) *Server {
	s := &Server{Config: c, forward: &http.Transport{TLSClientConfig: c.TLS, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
		DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext, ResponseHeaderTimeout: 2*time.Minute + 10*time.Second}}
	if s.Patience == 0 {
		s.Patience = 30 * time.Second
	}
	s.life, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug)}
	return s
}

// Serve serves until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Shutdown ends streams, lets other requests finish and stops.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	return s.http.Shutdown(ctx)
}

// Who can answer.
type who int

const (
	anybody who = iota
	leader
	// confirmed is the leader after a majority has confirmed that it still is: the
	// answer has all that anybody was told of before.
	confirmed
)

// route is one path of the API.
type route struct {
	method, path string
	by           who
	handle       func(w http.ResponseWriter, r *http.Request) (any, error)
	summary      string
	in, out      any // bodies, for the description; nil for none, or none that is JSON
}

// routes lists the API; an answer of nil was written by the handler.
func (s *Server) routes() []route {
	return []route{
		{"POST", "/v1/jobs", leader, s.submit, "Hand in a job", api.JobRequest{}, api.JobRecord{}},
		{"GET", "/v1/jobs", confirmed, s.jobs, "All jobs, newest first", nil, api.JobList{}},
		{"GET", "/v1/jobs/{id}", confirmed, s.job, "One job, by its ID or how that begins", nil, api.JobRecord{}},
		{"GET", "/v1/jobs/{id}/events", anybody, s.stream(joblog.Events), "Events of a job as server-sent events", nil, nil},
		{"GET", "/v1/jobs/{id}/logs", anybody, s.stream(joblog.Log), "Log lines of all ranks of a job as server-sent events", nil, nil},
		{"GET", "/v1/jobs/{id}/history", anybody, s.history, "Decisions about a job, oldest first", nil, api.History{}},
		{"GET", "/v1/jobs/{id}/explain", confirmed, s.explain, "How a job came to be where it is, in words", nil, api.Explanation{}},
		{"POST", "/v1/jobs/{id}/cancel", confirmed, s.cancel, "Stop a job", nil, api.JobRecord{}},
		{"POST", "/v1/jobs/{id}/resume", confirmed, s.resume, "Go on with a job that failed or was cancelled; one that waits or runs is left to that", nil, api.JobRecord{}},
		{"POST", "/v1/jobs/{id}/report", leader, s.report, "How a worker's part of a generation ended", api.Report{}, struct{}{}},
		{"POST", "/v1/jobs/{id}/checkpoints", leader, s.publish, "A checkpoint is on the disks of nodes", api.Published{}, struct{}{}},
		{"GET", "/v1/jobs/{id}/output", anybody, s.output, "Files that a job has written", nil, api.Files{}},
		{"GET", "/v1/jobs/{id}/output/{path...}", anybody, s.outputFile, "One file of a job's output", nil, nil},
		{"GET", "/v1/jobs/{id}/trace", anybody, s.trace, "What the nodes of a job recorded of a step", nil, api.Trace{}},
		{"GET", "/v1/jobs/{id}/profile", anybody, s.profile, "What the nodes of a job do during its next steps", nil, api.Profile{}},
		{"POST", "/v1/plan", leader, s.plan, "Where a job would run, and why", api.JobRequest{}, api.PlanReply{}},
		{"GET", "/v1/watch", leader, s.watch, "Jobs, nodes and coordinators as server-sent events of what has changed; ?job=ID tells one job in full", nil, nil},
		{"GET", "/v1/nodes", confirmed, s.nodes, "All nodes, by name", nil, api.NodeList{}},
		{"POST", "/v1/nodes/{name}/beat", leader, s.beat, "Heartbeat of a node", api.Beat{}, api.BeatReply{}},
		{"POST", "/v1/nodes/{name}/drain", leader, s.drain, "Keep new jobs off a node, or let them on again", api.Drain{}, api.NodeRecord{}},
		{"GET", "/v1/cluster", leader, s.cluster, "The coordinators", nil, api.Cluster{}},
		{"POST", "/v1/cluster/members", leader, s.join, "Take a coordinator up, or take in that it has moved", api.Member{}, api.Cluster{}},
		{"DELETE", "/v1/cluster/members/{id}", leader, s.leave, "Take a coordinator out", nil, api.Cluster{}},
		{"GET", snapshotPath, leader, s.saveSnapshot, "The replicated state, as a file", nil, nil},
		{"PUT", snapshotPath, leader, s.restoreSnapshot, "Replace the replicated state by that of a file", nil, api.Restored{}},
		{"GET", "/v1/openapi.json", anybody, s.openAPI, "This description", nil, nil},
		{"GET", "/healthz", anybody, s.healthy, "Whether the process answers", nil, map[string]string{}},
		{"GET", "/readyz", anybody, s.ready, "Whether there is a leader", nil, map[string]string{}},
	}
}

// Handler returns the handler of the API and of the page.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, x := range s.routes() {
		mux.HandleFunc(x.method+" "+x.path, func(w http.ResponseWriter, r *http.Request) { s.serve(x, w, r) })
	}
	none := func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, &refusal{http.StatusNotFound, api.ExitFailed, fmt.Sprintf("%s %s: no such path", r.Method, r.URL.Path)})
	}
	mux.HandleFunc("/", none)
	if s.Page != nil {
		mux.Handle("GET /", s.Page)
		mux.HandleFunc("GET /v1/", none)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := fromOurPage(r); err != nil {
			s.fail(w, err)
			return
		}
		mux.ServeHTTP(&timed{w, http.NewResponseController(w), s.Patience}, r)
	})
}

func (s *Server) serve(x route, w http.ResponseWriter, r *http.Request) {
	if x.by != anybody {
		leader, self, ok := s.Cluster.Leader()
		switch {
		case !ok:
			s.fail(w, noLeader("no coordinator leads at the moment"))
			return
		case !self && r.Header.Get(forwarded) != "":
			s.fail(w, noLeader("the leader has just changed"))
			return
		case !self:
			s.pass(w, r, leader)
			return
		}
	}
	if x.by == confirmed {
		if err := s.Cluster.Confirm(r.Context()); err != nil {
			s.fail(w, err)
			return
		}
	}
	r.Body = http.MaxBytesReader(w, r.Body, x.maxBody())
	r = r.WithContext(telemetry.Extract(r.Context(), r.Header))
	out, err := x.handle(w, r)
	if errors.Is(err, state.ErrNotFound) && x.by == anybody {
		// This member may be behind, also where it leads: as one that has just been started
		// and goes through its log.
		switch leader, self, ok := s.Cluster.Leader(); {
		case !ok:
			err = noLeader("no coordinator leads at the moment")
		case !self && r.Header.Get(forwarded) != "":
			err = noLeader("the leader has just changed")
		case !self:
			s.pass(w, r, leader)
			return
		default:
			if err = s.Cluster.Confirm(r.Context()); err == nil {
				out, err = x.handle(w, r)
			}
		}
	}
	switch {
	case err != nil:
		s.fail(w, err)
	case out != nil:
		status := http.StatusOK
		if x.method == "POST" && x.path == "/v1/jobs" {
			status = http.StatusAccepted
		}
		write(w, status, out)
	}
}

// pass hands a request to the leader.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, leader api.Member) {
	scheme := "http"
	if s.TLS != nil {
		scheme = "https"
	}
	to := &url.URL{Scheme: scheme, Host: leader.Addr}
	(&httputil.ReverseProxy{
		Transport: s.forward,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			p.Out.Header.Set(forwarded, s.Cluster.ID())
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.fail(w, noLeader(fmt.Sprintf("the leader %s cannot be reached: %v", leader.ID, err)))
		},
		ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}).ServeHTTP(w, r)
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff") // it may hold what others have written
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

// read decodes a request's body: one JSON value without unknown fields.
func read(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return &refusal{http.StatusRequestEntityTooLarge, api.ExitInvalid, fmt.Sprintf("the body has more than %d bytes", large.Limit)}
		}
		return invalid(fmt.Errorf("body: %w", err))
	}
	if _, err := d.Token(); err != io.EOF {
		return invalid(errors.New("body: more than one value"))
	}
	return nil
}

// refusal is an error with the answer that it becomes.
type refusal struct {
	status, exit int
	message      string
}

func (r *refusal) Error() string { return r.message }

func invalid(err error) error {
	return &refusal{http.StatusBadRequest, api.ExitInvalid, err.Error()}
}

func noLeader(message string) error {
	return &refusal{http.StatusServiceUnavailable, api.ExitUnreachable, message}
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, err error) {
	answer := api.Error{Message: err.Error(), ExitCode: api.ExitFailed}
	status := http.StatusInternalServerError
	var r *refusal
	switch {
	case errors.As(err, &r):
		status, answer.ExitCode = r.status, r.exit
	case errors.Is(err, cluster.ErrNotLeader):
		status, answer.ExitCode = http.StatusServiceUnavailable, api.ExitUnreachable
	case errors.Is(err, state.ErrNotFound):
		status, answer.ExitCode = http.StatusNotFound, api.ExitInvalid
	case errors.Is(err, schedule.ErrVersion):
		status, answer.ExitCode = http.StatusConflict, api.ExitInvalid
	case errors.Is(err, state.ErrConflict), errors.Is(err, state.ErrAmbiguous), errors.Is(err, state.ErrStaleGeneration), errors.Is(err, schedule.ErrTaken):
		status = http.StatusConflict
	case errors.Is(err, state.ErrFull):
		status = http.StatusTooManyRequests
	case errors.Is(err, state.ErrInvalid), api.ExitCode(err) == api.ExitInvalid:
		status, answer.ExitCode = http.StatusBadRequest, api.ExitInvalid
	case errors.Is(err, context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	}
	if status == http.StatusInternalServerError {
		s.Logger.Warn("request failed", "error", err)
	}
	if leader, _, ok := s.Cluster.Leader(); ok {
		answer.Leader = leader.ID
	}
	write(w, status, answer)
}
