package bench

import "testing"

// Order statistics that hold a median with 95 %, from tables of the sign test.
func TestRanksOfTheMedian(t *testing.T) {
	for n, want := range map[int][2]int{1: {0, 0}, 5: {0, 4}, 6: {0, 5}, 9: {1, 7}, 10: {1, 8}, 30: {9, 20}, 31: {9, 21}, 101: {40, 60}} {
		if low, high := ranks(n); low != want[0] || high != want[1] {
			t.Errorf("of %d: %d to %d, want %v", n, low, high, want)
		}
	}
}
