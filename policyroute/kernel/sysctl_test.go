package kernel

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// Docker sets ip_forward when it starts, and the kernel every interface's forwarding with it: an
// interface that we made forward before must not lose that when we go.
func TestSysctlOfAllInterfacesSetMeanwhile(t *testing.T) {
	for _, tt := range []struct{ name, before, meanwhile, want string }{
		{"switched on", ":",
			"echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding", "1 1"},
		{"switched off",
			"echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
			"echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding", "0 0"},
		{"left on",
			"echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding", ":", "1 1"},
		{"left off", ":", ":", "0 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			record := filepath.Join(t.TempDir(), "record.json")
			inNamespace(t, func() {
				host(t)
				sh(t, tt.before)
				forward := policyroute.State{Sysctls: []policyroute.Sysctl{
					{Key: "net/ipv4/conf/wan/forwarding",
						Value: "1"}, {Key: "net/ipv6/conf/wan/forwarding", Value: "1"},
				}}
				reach(t, open(t, record), forward)
				sh(t, tt.meanwhile)
				k := open(t, record)
				reach(t, k, forward)
				if _, err := k.Restore(context.Background()); err != nil {
					t.Error(err)
				}
				got := strings.Join(strings.Fields(sh(t,
					"cat /proc/sys/net/ipv4/conf/wan/forwarding /proc/sys/net/ipv6/conf/wan/forwarding")), " ")
				if got != tt.want {
					t.Errorf("forwarding of wan is %s afterwards, want %s", got, tt.want)
				}
			})
		})
	}
}

// A full disk keeps no value from being set: it is put back by the process that set it, and by any
// other once there was space to write it down, also on a disk that is full again.
func TestSysctlWhileTheDiskIsFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("SKIPPED: this container may not mount:", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	fill, record := filepath.Join(dir, "fill"), filepath.Join(dir, "record.json")
	inNamespace(t, func() {
		host(t)
		const key = "net/ipv4/conf/wan/accept_redirects"
		before, err := readSysctl(key)
		if err != nil {
			t.Error(err)
		}
		other := map[string]string{"0": "1", "1": "0"}[before]
		sh(t, "head -c 100000 /dev/zero > "+fill+" 2>/dev/null || true")
		k := open(t, record)
		reach(t, k, policyroute.State{Sysctls: []policyroute.Sysctl{{Key: key, Value: other}}})
		if got, _ := readSysctl(key); got != other {
			t.Errorf("%s is %s, want %s", key, got, other)
		}
		if _, err := os.Stat(record); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the record was written on a full disk: %v", err)
		}
		if err := os.Remove(fill); err != nil {
			t.Error(err)
		}
		if _, err := k.Observe(); err != nil {
			t.Error(err)
		}
		sh(t, "head -c 100000 /dev/zero > "+fill+" 2>/dev/null || true")
		if _, err := open(t, record).Restore(context.Background()); err != nil {
			t.Error(err)
		}
		if got, _ := readSysctl(key); got != before {
			t.Errorf("afterwards %s is %s, want %s", key, got, before)
		}
	})
}
