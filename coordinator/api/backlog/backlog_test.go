package backlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A reader that stands still holds nobody up; what may be lost is counted, what may
// not comes in its place.
func TestQueueDropsWhatMayBeLost(t *testing.T) {
	const most = 10
	goOn, passing := make(chan bool), make(chan bool, 1)
	var got []string
	q := New(most, func(item string, dropped int) {
		select {
		case passing <- true:
		default:
		}
		<-goOn
		if dropped > 0 {
			got = append(got, fmt.Sprintf("-%d", dropped))
		}
		got = append(got, item)
	})
	q.Put("first")
	<-passing // it is being read, and nobody waits in the queue
	var want []string
	for i := range 100 {
		item := fmt.Sprint(i)
		if took := q.Put(item); took != (i < most) {
			t.Errorf("item %d was taken: %v", i, took)
		}
		if i < most {
			want = append(want, item)
		}
	}
	q.Keep("result")
	q.Put("behind")
	close(goOn)
	dropped, err := q.Close(t.Context())
	if err != nil || dropped != 1 {
		t.Errorf("close: %d dropped behind the last, %v; want 1", dropped, err)
	}
	want = append(append([]string{"first"}, want...), "-90", "result")
	if !slices.Equal(got, want) {
		t.Errorf("passed %q, want %q", got, want)
	}
	if q.Keep("late") {
		t.Error("a closed queue took an item")
	}
}

func TestCloseObeysItsContext(t *testing.T) {
	goOn := make(chan bool)
	q := New(1, func(int, int) { <-goOn })
	q.Put(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close with a reader that stands still gave %v", err)
	}
	close(goOn)
	if _, err := q.Close(t.Context()); err != nil {
		t.Errorf("close again: %v", err)
	}
}

// Nothing is passed twice, lost or passed out of order among writers.
func TestQueueKeepsTheOrderOfEachWriter(t *testing.T) {
	const writers, each = 4, 1000
	last := make([]int, writers)
	n, lost := 0, 0
	q := New(50, func(item [2]int, dropped int) {
		if lost += dropped; item[1] <= last[item[0]] {
			t.Errorf("writer %d: %d after %d", item[0], item[1], last[item[0]])
		}
		last[item[0]] = item[1]
		n++
	})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				q.Put([2]int{w, i + 1})
			}
		})
	}
	all.Wait()
	dropped, err := q.Close(t.Context())
	if err != nil || n+lost+dropped != writers*each {
		t.Errorf("%d passed, %d dropped, %v; want %d in all", n, lost+dropped, err, writers*each)
	}
}

func TestWriterGoesOnWhereNobodyReads(t *testing.T) {
	read, write := io.Pipe()
	w := NewWriter(write)
	const lines = 3 * mostLines
	for i := range lines {
		fmt.Fprintf(w, "line %d\n", i)
	}
	whole := make(chan []byte)
	go func() {
		raw, _ := io.ReadAll(read)
		whole <- raw
	}()
	if err := errors.Join(w.Close(), write.Close()); err != nil {
		t.Fatal(err)
	}
	text := string(<-whole)
	written, missing := strings.Count(text, "line "), 0
	last := text[strings.LastIndex(strings.TrimSpace(text), "\n")+1:]
	if _, err := fmt.Sscanf(last, "%d lines are missing here", &missing); err != nil || written+missing != lines || written < mostLines {
		t.Errorf("%d lines written, last %q; want all %d accounted for", written, last, lines)
	}
}

func TestWriterEndsWhereNobodyReads(t *testing.T) {
	read, write := io.Pipe()
	defer read.Close()
	w := NewWriter(write)
	fmt.Fprintln(w, "nobody reads this")
	began := time.Now()
	if err := w.Close(); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*closeWait {
		t.Errorf("close gave %v after %v", err, time.Since(began))
	}
	var out bytes.Buffer
	w = NewWriter(&out)
	fmt.Fprintln(w, "one")
	fmt.Fprintln(w, "two")
	if err := w.Close(); err != nil || out.String() != "one\ntwo\n" {
		t.Errorf("wrote %q, %v", out.String(), err)
	}
}
