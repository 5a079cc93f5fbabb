package local_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ip runs a command of iproute2.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// namespaces makes two network namespaces, 10.77.0.1 and 10.77.0.2, which reach each
// other through a relay only. Each is the site of the machines that are added to it.
func namespaces(t *testing.T, delay time.Duration, loss float64) ([2]string, *relay) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip (iproute2)")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("no TUN devices: ", err)
	}
	r := &relay{delay: delay, loss: loss}
	var names [2]string
	for i := range names {
		name := fmt.Sprintf("ressa-test-%d-%d", os.Getpid(), i)
		if err := ip("netns", "add", name); err != nil {
			t.Skip("no network namespaces here: ", err)
		}
		t.Cleanup(func() {
			if err := ip("netns", "delete", name); err != nil {
				t.Error(err)
			}
		})
		names[i] = name
		var err error
		if r.ends[i], err = openTun(name, "tun0"); err != nil {
			t.Skip("no TUN device in a network namespace here: ", err)
		}
		for _, args := range [][]string{
			{"-n", name, "link", "set", "lo", "up"},
			{"-n", name, "addr", "add", fmt.Sprintf("10.77.0.%d/24", i+1), "dev", "tun0"},
			{"-n", name, "link", "set", "tun0", "up"},
			{"-n", name, "route", "add", fmt.Sprintf("10.78.%d.0/24", 1-i), "dev", "tun0"}, // machines of the other site
			{"netns", "exec", name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"},
		} {
			if err := ip(args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() {
		for _, end := range r.ends {
			_ = end.Close() // its reader ends
		}
		r.tasks.Wait()
	})
	for i := range names {
		r.run(i, 1)
	}
	return names, r
}

// gateway is what a machine calls its site.
const gateway = "169.254.1.1"

// machine adds a machine to a site: a network namespace of its own, whose only way out
// is through its site's. Its address is 10.78.SITE.NUMBER.
func machine(t *testing.T, sites [2]string, site, number int) (namespace, address string) {
	t.Helper()
	namespace, address = fmt.Sprintf("ressa-test-%d-%d-%d", os.Getpid(), site, number), fmt.Sprintf("10.78.%d.%d", site, number)
	device := fmt.Sprint("machine", number)
	if err := ip("netns", "add", namespace); err != nil {
		t.Skip("no network namespaces here: ", err)
	}
	t.Cleanup(func() {
		if err := ip("netns", "delete", namespace); err != nil {
			t.Error(err)
		}
	})
	if err := ip("-n", sites[site], "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace); err != nil {
		t.Skip("no pairs of network devices here: ", err)
	}
	for _, args := range [][]string{
		{"-n", sites[site], "addr", "add", gateway + "/32", "dev", device},
		{"-n", sites[site], "link", "set", device, "up"},
		{"-n", sites[site], "route", "add", address, "dev", device, "src", fmt.Sprintf("10.77.0.%d", site+1)},
		{"-n", namespace, "link", "set", "lo", "up"},
		{"-n", namespace, "addr", "add", address + "/32", "dev", "eth0"},
		{"-n", namespace, "link", "set", "eth0", "up"},
		{"-n", namespace, "route", "add", gateway, "dev", "eth0"},
		{"-n", namespace, "route", "add", "default", "via", gateway},
	} {
		if err := ip(args...); err != nil {
			t.Fatal(err)
		}
	}
	return namespace, address
}

// silence loses what one machine sends to another, until it is taken back; the site of
// the sender does it.
func silence(site, from, to string) (back func() error, err error) {
	rule := []string{"-n", site, "rule", "add", "pref", "10", "from", from, "to", to, "blackhole"}
	if err := ip(rule...); err != nil {
		return nil, err
	}
	rule[3] = "delete"
	return func() error { return ip(rule...) }, nil
}

// inside runs f on a thread in a network namespace.
func inside(namespace string, f func() error) error {
	out := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := func() error {
			home, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer home.Close()
			there, err := os.Open(filepath.Join("/run/netns", namespace))
			if err != nil {
				return err
			}
			defer there.Close()
			if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter %s: %w", namespace, err)
			}
			err = f()
			if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
				return fmt.Errorf("leave %s: %w", namespace, back) // the thread ends with the goroutine
			}
			runtime.UnlockOSThread() // processes that this thread began end with it
			return err
		}()
		out <- err
	}()
	return <-out
}
