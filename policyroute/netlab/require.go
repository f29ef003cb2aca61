package netlab

import (
	"os"
	"os/exec"
	"strings"
)

// Need is something that a lab cannot do without.
type Need string

// What labs need. Root includes the programs that every lab uses (ip, nft) and the right to make
// namespaces.
const (
	Root      Need = "root"
	OpenVPN   Need = "openvpn"
	OpenVPN3  Need = "openvpn3"
	ZeroTier  Need = "zerotier-one"
	IPTables  Need = "iptables"
	Conntrack Need = "conntrack"
	IPerf3    Need = "iperf3"
	Ethtool   Need = "ethtool"
)

// TB is the part of testing.TB that netlab uses. Programs use the package too, and must not import
// package testing.
type TB interface {
	Helper()
	Name() string
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Failed() bool
	Cleanup(func())
}

// Require skips the test, naming what is missing, unless every need is met.
func Require(t TB, needs ...Need) {
	t.Helper()
	if missing := Missing(needs...); len(missing) > 0 {
		t.Skipf("SKIPPED, NOT PASSED: %s needs %s", t.Name(), strings.Join(missing, " and "))
	}
}

// LongPrefix begins the names of tests that call Long; make test-long runs these.
const LongPrefix = "TestLong"

// Long skips the test, which takes minutes for the given reason, unless ZTBRIDGE_LONG is set.
func Long(t TB, reason string) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), LongPrefix) {
		t.Fatalf("%s is long, but its name does not begin with %s", t.Name(), LongPrefix)
	}
	if os.Getenv("ZTBRIDGE_LONG") == "" {
		t.Skipf("SKIPPED: long: %s; run make test-long", reason)
	}
}

// Missing returns, in words, the needs that this machine does not meet.
func Missing(needs ...Need) []string {
	var missing []string
	for _, need := range needs {
		programs := []string{string(need)}
		switch need {
		case Root:
			if os.Geteuid() != 0 {
				missing = append(missing, "root (network namespaces)")
			}
			programs = []string{"ip", "nft"}
		case OpenVPN, OpenVPN3, ZeroTier:
			if _, err := os.Stat("/dev/net/tun"); err != nil {
				missing = append(missing, "/dev/net/tun")
			}
		}
		switch need {
		case OpenVPN3:
			programs = append(programs, "dbus-daemon", "setpriv")
		case ZeroTier:
			programs = append(programs, "zerotier-idtool")
		}
		for _, p := range programs {
			if _, err := exec.LookPath(p); err != nil {
				missing = append(missing, "the program "+p)
			}
		}
	}
	return missing
}
