package api

import (
	"encoding/json"
	"strings"
	"testing"
)

const aMark = `{"job":"abc","generation":1,"node":"t-1","worker":0,"kind":"events","first":1,"last":7,"ended":true}`

func TestMarksAndRequestsThatAreRefused(t *testing.T) {
	if m, err := ParseLineMark([]byte(aMark)); err != nil || m.Last != 7 || !m.Ended || m.Node != "t-1" {
		t.Errorf("%+v, %v", m, err)
	}
	none := strings.Replace(aMark, `"last":7`, `"last":0`, 1)
	if _, err := ParseLineMark([]byte(none)); err != nil {
		t.Errorf("a worker that has said nothing: %v", err)
	}
	request := `{"job":"abc","generation":1,"node":"t-1","worker":0,"kind":"log","from":3}`
	if r, err := ParseLineRequest([]byte(request)); err != nil || r.From != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"abc"`, `"a.*"`, "job"}, {`"abc"`, `"../x"`, "job"}, {`"abc"`, `""`, "job"},
		{`"t-1"`, `"a.>"`, "node"}, {`"t-1"`, `"*"`, "node"}, {`"t-1"`, `"` + strings.Repeat("a", 64) + `"`, "node"},
		{`"worker":0`, `"worker":-1`, "worker -1"}, {`"generation":1`, `"generation":-1`, "generation -1"},
		{`"generation":1`, `"generation":1e30`, "generation"}, {`"worker":0`, `"worker":"0"`, "worker"}, {`"job"`, `"jobs"`, "jobs"},
		{`"abc"`, `"` + strings.Repeat("a", maxAsk) + `"`, "bytes"},
	} {
		for _, text := range []string{aMark, request} {
			_, err := ParseLineMark([]byte(strings.Replace(text, c.from, c.to, 1)))
			if text == request {
				_, err = ParseLineRequest([]byte(strings.Replace(text, c.from, c.to, 1)))
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s for %s: %v, want %q", c.to, c.from, err, c.want)
			}
		}
	}
	for _, bad := range []string{``, `null`, `[]`, `{`, strings.Replace(aMark, "events", "odd", 1), strings.Replace(aMark, `"first":1`, `"first":9`, 1),
		strings.Replace(aMark, `"first":1`, `"first":0`, 1), strings.Replace(aMark, `"last":7`, `"last":-7`, 1)} {
		if m, err := ParseLineMark([]byte(bad)); err == nil {
			t.Errorf("mark %s is %+v", bad, m)
		}
		if r, err := ParseLineRequest([]byte(strings.Replace(bad, "last", "from", 1))); err == nil {
			t.Errorf("request %s is %+v", bad, r)
		}
	}
}

// FuzzLineMarks reads anything as a mark and a request: what is taken makes subjects of
// one token and survives another round.
func FuzzLineMarks(f *testing.F) {
	for _, seed := range []string{aMark, `{"job":"abc","node":"t1","kind":"log","from":3}`, "null", "[]", `{"job":"a b","node":"x.y"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		tokens := func(s LineSource) {
			for _, subject := range []string{MarkSubject(s.Job), LinesSubject(s.Node)} {
				if strings.Count(subject, ".") != 3 || strings.ContainsAny(subject, "*> \t\r\n") {
					t.Errorf("subject %q", subject)
				}
			}
		}
		if m, err := ParseLineMark(raw); err == nil {
			tokens(m.LineSource)
			out, err := json.Marshal(m)
			if again, bad := ParseLineMark(out); err != nil || bad != nil || again != m {
				t.Errorf("%+v became %+v: %v, %v", m, again, err, bad)
			}
		}
		if r, err := ParseLineRequest(raw); err == nil {
			tokens(r.LineSource)
			out, err := json.Marshal(r)
			if again, bad := ParseLineRequest(out); err != nil || bad != nil || again != r {
				t.Errorf("%+v became %+v: %v, %v", r, again, err, bad)
			}
		}
	})
}
