package agent

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// FreeMemory returns the bytes that a node could take: what the system calls
// available; 0 where it does not say.
func FreeMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			if _, err := fmt.Sscan(rest, &kib); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

const (
	probeBytes = 4 << 20
	probes     = 4
	probeWait  = 5 * time.Second
)

// measure sends messages to this node over the hub and back, and returns bytes/s
// and seconds of one way: what the planner takes a link to be worth. A direct
// connection of two nodes is no slower.
func measure(c *nats.Conn) (bandwidth, latency float64, err error) {
	inbox := nats.NewInbox()
	sub, err := c.SubscribeSync(inbox)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, sub.Unsubscribe()) }()
	rtt, err := c.RTT()
	if err != nil {
		return 0, 0, err
	}
	best := 0.0
	payload := make([]byte, probeBytes)
	for range probes {
		began := time.Now()
		if err := c.Publish(inbox, payload); err != nil {
			return 0, 0, err
		}
		if _, err := sub.NextMsg(probeWait); err != nil {
			return 0, 0, err
		}
		// There and back: two passes over the link.
		best = max(best, 2*probeBytes/time.Since(began).Seconds())
	}
	return best, rtt.Seconds() / 2, nil
}
