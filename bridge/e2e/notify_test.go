package e2e

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
)

// TestPartialFaultIsNoReasonToRestart: a part of the kernel that cannot be changed, here iptables,
// is said in the status; for systemd the daemon is ready, with its filter in force, and alive, so
// that no watchdog ends its tunnels.
func TestPartialFaultIsNoReasonToRestart(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	for _, name := range []string{"iptables-restore", "ip6tables-restore"} {
		must(t, os.WriteFile(filepath.Join(b.dir, name),
			[]byte("#!/bin/sh\necho no such table >&2\nexit 1\n"), 0o755))
	}
	heard := systemd(t, filepath.Join(b.dir, "notify"))
	b.env = []string{"PATH=" + b.dir + ":" + os.Getenv("PATH"),
		"NOTIFY_SOCKET=" + filepath.Join(b.dir, "notify"), "WATCHDOG_USEC=2000000"}
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	b.await("the fault", func(st api.Status) bool {
		return st.State == api.Degraded &&
			slices.ContainsFunc(st.Conditions, func(c api.Condition) bool {
				return c.Code == health.IPTables && strings.Contains(c.Message, "no such table")
			})
	})
	await(t, "readiness", func() bool { return heard("READY=1") == 1 })
	must(t, b.try("nft list chain inet ztb forward"))
	before := heard("WATCHDOG=1")
	began := time.Now()
	await(t, "the watchdog to be fed", func() bool { return heard("WATCHDOG=1") >= before+3 })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the watchdog was fed 3 times in %v; it bites after 2 s", took)
	}
}

// systemd listens in its place, and returns how often a line was heard so far.
func systemd(t *testing.T, path string) func(line string) int {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	var mu sync.Mutex
	counts := map[string]int{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return // closed
			}
			mu.Lock()
			for _, line := range strings.Split(string(buf[:n]), "\n") {
				counts[line]++
			}
			mu.Unlock()
		}
	}()
	return func(line string) int {
		mu.Lock()
		defer mu.Unlock()
		return counts[line]
	}
}
