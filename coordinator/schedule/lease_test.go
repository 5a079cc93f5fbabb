package schedule

import (
	"testing"
	"time"

	"ressa/coordinator/api"
)

// A leader that stood still does not hold that against anybody.
func TestDeafLeaderGrantsTime(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	l := NewLeases(begin)
	l.Observe("a", api.Beat{Session: "1"}, at(1))
	if got := l.Of("a", at(3)).Silent; got != 2*time.Second {
		t.Fatalf("a is silent for %v, want 2 s", got)
	}
	l.Deaf(10 * time.Second)
	v := l.View(at(13))
	for node, want := range map[string]time.Duration{"a": 2 * time.Second, "never heard": 3 * time.Second} {
		if got := v.Of(node).Silent; got != want {
			t.Errorf("%s is silent for %v, want %v", node, got, want)
		}
	}
	l.Observe("a", api.Beat{Session: "1"}, at(14))
	if got := l.Of("a", at(15)).Silent; got != time.Second {
		t.Errorf("a is silent for %v after a beat, want 1 s", got)
	}
}
