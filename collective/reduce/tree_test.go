package reduce

import (
	"slices"
	"testing"
)

func TestChildren(t *testing.T) {
	for n, want := range map[int]int{2: 1, 3: 2, 4: 2, 5: 4, 7: 4, 8: 4, 9: 8, 16: 8, 17: 16, 33: 32} {
		left, right := Root(n).Children()
		if left != (Subtree{0, want}) || right != (Subtree{want, n}) {
			t.Errorf("%d leaves split into %v and %v, want the cut at %d", n, left, right, want)
		}
	}
}

func TestParentInvertsChildren(t *testing.T) {
	for n := 1; n <= 33; n++ {
		nodes := map[Subtree]bool{}
		var walk func(s Subtree)
		walk = func(s Subtree) {
			nodes[s] = true
			if s.Len() == 1 {
				return
			}
			left, right := s.Children()
			for _, child := range []Subtree{left, right} {
				if p, ok := Parent(n, child); !ok || p != s {
					t.Errorf("n=%d: parent of %v is %v %v, want %v", n, child, p, ok, s)
				}
				walk(child)
			}
		}
		walk(Root(n))
		for lo := -1; lo <= n+1; lo++ {
			for hi := -1; hi <= n+1; hi++ {
				if s := (Subtree{lo, hi}); IsNode(n, s) != nodes[s] {
					t.Errorf("n=%d: IsNode(%v) = %v", n, s, !nodes[s])
				}
			}
		}
		if _, ok := Parent(n, Root(n)); ok {
			t.Errorf("n=%d: the root has a parent", n)
		}
	}
	if IsNode(0, Subtree{}) {
		t.Error("the tree of no leaves has a node")
	}
}

func TestCover(t *testing.T) {
	for _, c := range []struct {
		n    int
		held []int
		want []Subtree
	}{
		{0, nil, nil},
		{1, []int{0}, []Subtree{{0, 1}}},
		{8, nil, nil},
		{8, []int{0, 1, 2, 3}, []Subtree{{0, 4}}},
		{8, []int{1, 2}, []Subtree{{1, 2}, {2, 3}}},
		{8, []int{0, 1, 2, 3, 4, 5, 6}, []Subtree{{0, 4}, {4, 6}, {6, 7}}},
		{6, []int{4, 5}, []Subtree{{4, 6}}},
		{5, []int{3, 4}, []Subtree{{3, 4}, {4, 5}}},
		{3, []int{0, 1, 2}, []Subtree{{0, 3}}},
	} {
		got := Cover(c.n, func(i int) bool { return slices.Contains(c.held, i) })
		if !slices.Equal(got, c.want) {
			t.Errorf("cover of %v in %d leaves is %v, want %v", c.held, c.n, got, c.want)
		}
	}
}
