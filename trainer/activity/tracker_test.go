package activity_test

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"ressa/trainer/activity"
)

// What is done is told apart from what waits, parts stand for the whole, and nothing
// counts that has no tracker.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track := activity.New(time.Now)
		want := func(when string, r activity.Report) {
			t.Helper()
			got := track.Report()
			got.Count = 0
			if len(got.Waits) == 0 {
				got.Waits = nil
			}
			if !reflect.DeepEqual(got, r) {
				t.Errorf("%s: %+v, want %+v", when, got, r)
			}
		}
		want("before anything", activity.Report{})
		run, over := activity.Begin(track.Track(context.Background()), "train")
		time.Sleep(time.Second)
		want("alone", activity.Report{Doing: "train", For: time.Second})
		first, one := activity.Begin(run, "microbatch 1")
		second, two := activity.Begin(run, "microbatch 2")
		time.Sleep(time.Second)
		arrived := activity.Wait(first, 2)
		want("one waits", activity.Report{Doing: "microbatch 2", For: time.Second, Waits: []int{2}})
		both := activity.Wait(second, 1, 0)
		save, saved := activity.Beside(second, "checkpoint")
		want("a third goes on beside them", activity.Report{Doing: "checkpoint", Waits: []int{0, 1, 2}})
		aside := activity.Wait(save, 5)
		want("all wait", activity.Report{Waits: []int{0, 1, 2, 5}})
		before := track.Report().Count
		time.Sleep(time.Hour)
		if n := track.Report().Count; n != before {
			t.Errorf("count went from %d to %d though nothing happened", before, n)
		}
		both()
		arrived()
		aside()
		saved()
		if n := track.Report().Count; n != before+4 {
			t.Errorf("count went from %d to %d, want 4 more", before, n)
		}
		time.Sleep(time.Minute)
		one()
		two()
		time.Sleep(time.Second)
		want("the parts are over", activity.Report{Doing: "train", For: time.Second})
		over()
		want("after all", activity.Report{})
		_, end := activity.Begin(context.Background(), "unseen")
		activity.Wait(context.Background(), 1)()
		end()
		want("without a tracker", activity.Report{})
	})
}
