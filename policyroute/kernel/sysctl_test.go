package kernel

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
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

// TestNeighbourLimitsAreNotLowered has the owner raise the limit of neighbours while ours is in
// force, on files in place of the first namespace's parameters.
func TestNeighbourLimitsAreNotLowered(t *testing.T) {
	key := policyroute.NeighbourKey(policyroute.V4)
	ours := strconv.Itoa(policyroute.NeighbourMax)
	want := policyroute.State{Sysctls: []policyroute.Sysctl{{Key: key, Value: ours}}}
	for _, tt := range []struct{ meanwhile, while, after string }{
		{"", ours, "1024"}, {"512", ours, "1024"}, {"4096", ours, "4096"},
		{"262144", "262144", "262144"},
	} {
		record := filepath.Join(t.TempDir(), "record.json")
		inNamespace(t, func() {
			if err := coverSysctl(key, "1024"); err != nil {
				t.Log("SKIPPED: this container may not mount:", err)
				return
			}
			k := open(t, record)
			reach(t, k, want)
			if tt.meanwhile != "" {
				if err := writeSysctl(key, tt.meanwhile); err != nil {
					t.Error(err)
				}
			}
			reach(t, k, want)
			if got, _ := readSysctl(key); got != tt.while {
				t.Errorf("after %q it is %s while we run, want %s", tt.meanwhile, got, tt.while)
			}
			if _, err := open(t, record).Restore(context.Background()); err != nil {
				t.Error(err)
			}
			if got, _ := readSysctl(key); got != tt.after {
				t.Errorf("after %q it is %s in the end, want %s", tt.meanwhile, got, tt.after)
			}
		})
	}
}

// coverSysctl gives the calling thread, alone, a file in place of a parameter.
func coverSysctl(key, value string) error {
	dir := filepath.Dir(sysctlRoot + key)
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("none", filepath.Dir(dir), "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(sysctlRoot+key, []byte(value), 0o600))
}

// TestAbsentSysctlsArePlannedOnce: an older kernel lacks some.
func TestAbsentSysctlsArePlannedOnce(t *testing.T) {
	inNamespace(t, func() {
		host(t)
		k := open(t, filepath.Join(t.TempDir(), "record.json"))
		const key = "net/ipv6/conf/late/rpl_seg_enabled"
		want := policyroute.State{Sysctls: []policyroute.Sysctl{{Key: key, Value: "0"}}}
		reach(t, k, want)
		reach(t, k, policyroute.State{})
		reach(t, k, want)
		sh(t, "ip link add late type veth peer name late2; sysctl -qw net.ipv6.conf.late.rpl_seg_enabled=1")
		reach(t, k, want)
		if got, err := readSysctl(key); got != "0" {
			t.Errorf("once it exists it is %q (%v), want 0", got, err)
		}
	})
}
