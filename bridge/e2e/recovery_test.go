package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// TestRecoveryGap measures, in a flow of 100 packets a second, how long clients wait after each of
// the usual accidents, with one egress and so with nowhere else to go.
func TestRecoveryGap(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	provider := top.Providers[0]
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	stream, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)
	accidents := []struct {
		name  string
		limit time.Duration
		do    func()
	}{
		{"openvpn kill -9", 1500 * time.Millisecond, func() {
			must(t, syscall.Kill(b.openvpn("provider"), syscall.SIGKILL))
		}},
		{"server killed, back after 1 s", 3 * time.Second, func() {
			provider.Kill()
			time.Sleep(time.Second) // the outage
			must(t, provider.Start(t.Context()))
		}},
		{"daemon kill -9, started again", 3 * time.Second, func() {
			b.daemon.KillAlone()
			b.start()
		}},
	}
	for _, a := range accidents {
		b.await("a probed tunnel", func(st api.Status) bool {
			return len(st.Policies) > 0 && st.Policies[0].Egress == "provider" &&
				st.Egresses[0].State == "up" && st.Egresses[0].RTT > 0
		})
		awaitAnswers(t, stream, 200)
		at := time.Now()
		a.do()
		awaitAnswers(t, stream, 50)
		gap := stream.Report().Gap(at, time.Now())
		t.Logf("%s: gap %v", a.name, gap.Round(time.Millisecond))
		if gap > a.limit {
			t.Errorf("%s: gap %v, want at most %v", a.name, gap, a.limit)
		}
	}
}

// awaitAnswers waits for n more answers, which must have been asked for from now on.
func awaitAnswers(t *testing.T, s *lab.Stream, n int) {
	t.Helper()
	_, before, _ := s.Counts()
	await(t, fmt.Sprintf("%d answers beyond %d", n, before), func() bool {
		_, now, _ := s.Counts()
		return now >= before+n
	})
}

// awaitSent waits until a stream has sent n more packets, for streams that get no answers.
func awaitSent(t *testing.T, s *lab.Stream, n int) {
	t.Helper()
	before, _, _ := s.Counts()
	await(t, fmt.Sprintf("%d packets beyond %d", n, before), func() bool {
		now, _, _ := s.Counts()
		return now >= before+n
	})
}

// TestReconnectsLeaveNothingBehind has the tunnel reconnect again and again and looks at what the
// daemon holds.
func TestReconnectsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	reconnectOften(t, 10)
}

func TestLongReconnectsLeaveNothingBehind(t *testing.T) {
	netlab.Long(t, "200 reconnects")
	reconnectOften(t, 200)
}

func reconnectOften(t *testing.T, rounds int) {
	t.Helper()
	top := standard(t, lab.Options{})
	provider := top.Providers[0]
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	reconnect := func() {
		pid := b.openvpn("provider")
		must(t, syscall.Kill(pid, syscall.SIGKILL))
		b.await("another openvpn", func(st api.Status) bool {
			now := b.openvpn("provider")
			return now != 0 && now != pid && len(st.Egresses) > 0 && st.Egresses[0].State == "up"
		})
	}
	b.awaitEgress("provider")
	for range 3 {
		reconnect()
	}
	fds, threads := b.held()
	for range rounds {
		reconnect()
	}
	b.awaitEgress("provider")
	nowFDs, nowThreads := b.held()
	t.Logf("after %d reconnects: %d → %d descriptors, %d → %d threads", rounds, fds, nowFDs,
		threads, nowThreads)
	if nowFDs > fds+5 || nowThreads > threads+8 {
		t.Errorf("after %d reconnects the daemon holds more: %d → %d descriptors, %d → %d threads",
			rounds, fds, nowFDs, threads, nowThreads)
	}
}

// held counts the daemon's file descriptors and threads.
func (b *box) held() (fds, threads int) {
	b.t.Helper()
	count := func(dir string) int {
		entries, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(b.daemon.Pid()), dir))
		must(b.t, err)
		return len(entries)
	}
	return count("fd"), count("task")
}

// TestFootprint holds the daemon to the size of a Pi Zero, with the history that is on by default
// and a program that holds the page: 40 MB in all, most of which are pages of the program's file
// that the kernel can drop and read again, and 12 MB that are the daemon's own.
func TestFootprint(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	b.await("a stable tunnel", func(st api.Status) bool {
		return len(st.Policies) > 0 && st.Policies[0].Egress == "provider" && st.Egresses[0].RTT > 0
	})
	for kind, limit := range map[string]int{"VmRSS": 40 << 20, "RssAnon": 12 << 20} {
		if used := b.memory(kind); used > limit {
			t.Errorf("%s: the daemon uses %.1f MB, want at most %d", kind, mb(used), limit>>20)
		} else {
			t.Logf("%s: %.1f MB", kind, mb(used))
		}
	}
}

func mb(bytes int) float64 { return float64(bytes) / (1 << 20) }

// rss returns the resident memory of the daemon in bytes.
func (b *box) rss() int { return b.memory("VmRSS") }

// memory returns a kind of memory of the daemon in bytes, by its name in proc(5).
func (b *box) memory(kind string) int {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.daemon.Pid()))
	must(b.t, err)
	for _, line := range strings.Split(string(text), "\n") {
		var kb int
		if _, err := fmt.Sscanf(line, kind+": %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	b.t.Fatalf("no %s", kind)
	return 0
}
