package group

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

func TestBroadcastAndAllGather(t *testing.T) {
	groups := hub(t, 4, nil)
	ctx := testContext(t, 20*time.Second)
	message := func(r int) []byte { return randomBytes(uint64(r), 3000*r) } // rank 0 has an empty one
	for name, members := range map[string][]int{"all": nil, "some": {1, 3}} {
		var wg sync.WaitGroup
		ranks := members
		if ranks == nil {
			ranks = []int{0, 1, 2, 3}
		}
		for _, r := range ranks {
			wg.Go(func() {
				got, err := groups[r].Broadcast(ctx, members, 3, "b/"+name, message(r))
				if err != nil || !bytes.Equal(got, message(3)) {
					t.Errorf("%s: rank %d got %d bytes from the root: %v", name, r, len(got), err)
				}
				gathered, err := groups[r].AllGather(ctx, members, "g/"+name, message(r))
				if err != nil || len(gathered) != len(ranks) {
					t.Errorf("%s: rank %d gathered %d messages: %v", name, r, len(gathered), err)
					return
				}
				for i, b := range gathered {
					if !bytes.Equal(b, message(ranks[i])) {
						t.Errorf("%s: rank %d got %d bytes of rank %d", name, r, len(b), ranks[i])
					}
				}
			})
		}
		wg.Wait()
	}
	if _, err := groups[0].AllGather(ctx, []int{1, 2}, "x", nil); err == nil {
		t.Error("a rank that is no member gathered")
	}
	if _, err := groups[0].AllGather(ctx, []int{1, 0}, "x", nil); err == nil {
		t.Error("members out of order were accepted")
	}
	if _, err := groups[0].Broadcast(ctx, []int{0, 2}, 1, "x", nil); err == nil {
		t.Error("a root that is no member was accepted")
	}
}
