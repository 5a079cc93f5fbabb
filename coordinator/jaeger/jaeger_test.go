package jaeger

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ressa/coordinator/api/telemetry"
)

// serve answers every request with a body, or a status.
func serve(t *testing.T, status int, body string) *Jaeger {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/api/traces/") {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	j, err := New(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestAStepAsJaegerHasIt(t *testing.T) {
	root := telemetry.StepRoot("job", 2, 5)
	j := serve(t, 200, `{"data":[{"traceID":"`+root.Trace.String()+`","spans":[
		{"traceID":"x","spanID":"b1","operationName":"activations.recv","startTime":1700000000000200,"duration":300,"processID":"p2",
		 "references":[{"refType":"CHILD_OF","traceID":"`+root.Trace.String()+`","spanID":"a1"},{"refType":"FOLLOWS_FROM","traceID":"`+root.Trace.String()+`","spanID":"c1"}],
		 "tags":[{"key":"ressa.microbatch","type":"int64","value":3},{"key":"ressa.edge","type":"string","value":"output"},{"key":"span.kind","value":"internal"},
		 {"key":"otel.status_description","value":"broken"}]},
		{"spanID":"a1","operationName":"step","startTime":1700000000000000,"duration":1500,"processID":"p1","tags":[]}],
		"processes":{"p1":{"serviceName":"ressa-trainer","tags":[{"key":"service.instance.id","value":"t1"}]},"p2":{"serviceName":"ressa-language","tags":[{"key":"service.instance.id","value":"t2"}]}}}]}`)
	x, err := j.Step(t.Context(), "job", 2, 5)
	if err != nil || len(x.Spans) != 2 || x.TraceID != root.Trace.String() || x.Generation != 2 || x.Step != 5 {
		t.Fatalf("%+v, %v", x, err)
	}
	step, recv := x.Spans[0], x.Spans[1]
	if step.Name != "step" || step.Parent != "" || step.Node != "t1" || step.End.Sub(step.Start).Microseconds() != 1500 {
		t.Errorf("%+v", step)
	}
	if recv.Parent != "a1" || len(recv.Links) != 1 || recv.Links[0] != "c1" || recv.Service != "ressa-language" || recv.Node != "t2" || recv.Error != "broken" ||
		recv.Attributes["ressa.microbatch"] != "3" || recv.Attributes["ressa.edge"] != "output" || len(recv.Attributes) != 2 {
		t.Errorf("%+v", recv)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"not there":  {404, `{}`, "no such trace"},
		"empty":      {200, `{"data":[]}`, "no such trace"},
		"an error":   {500, ``, "500"},
		"no JSON":    {200, `<html>`, "invalid character"},
		"cut off":    {200, `{"data":[{"spans":[`, "unexpected EOF"},
		"goes back":  {200, `{"data":[{"spans":[{"spanID":"a","duration":-1}]}]}`, "lasts -1"},
		"many spans": {200, `{"data":[{"spans":[` + strings.Repeat("{},", 100_000) + `{}]}]}`, "at most 100000"},
	} {
		_, err := serve(t, c.status, c.body).Step(t.Context(), "job", 1, 1)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrNotFound) != (c.want == "no such trace") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:16686", "ftp://x", "http://", "http://a?b=c"} {
		if _, err := New(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
