package schedule

import (
	"testing"
	"time"

	"ressa/coordinator/state"
)

// A wall clock that jumps while a leader leads makes nothing older or younger.
func TestAgesDoNotJump(t *testing.T) {
	now := time.Unix(1e9, 0)
	stamp := now.Add(-time.Second)
	d := &decider{Input: Input{Now: now, Ages: &Ages{}, Leases: View{Since: time.Minute}}, s: state.Empty()}
	if got := d.elapsed(stamp); got != time.Second {
		t.Fatalf("a second old: %v", got)
	}
	d.Leases.Since += 5 * time.Second
	for _, jump := range []time.Duration{40 * time.Hour, -40 * time.Hour, 0} {
		d.Now = now.Add(5*time.Second + jump)
		if got := d.elapsed(stamp); got != 6*time.Second {
			t.Errorf("6 s old, and the clock jumped by %v: %v", jump, got)
		}
	}
	// A stamp of a clock that is ahead counts from when this leader began to listen.
	if got := d.elapsed(now.Add(time.Hour)); got != 65*time.Second {
		t.Errorf("stamped in the future: %v", got)
	}
}
