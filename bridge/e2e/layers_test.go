package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// layer is one of what holds clients' packets back, with a shell command that takes it away and
// one that succeeds while it is there.
type layer struct{ name, remove, there string }

// eachFamily is a shell line for both IP versions, with $f as the option of ip(8).
func eachFamily(line string) string { return "set -e; for f in -4 -6; do " + line + "; done" }

var layers = []layer{
	{"devices and tables",
		"ip link del tunztb-provider; " + eachFamily("ip $f route flush proto 90 table all"),
		"ip link show tunztb-provider && " +
			eachFamily("ip $f route show table all proto 90 | grep -q '^unreachable default'")},
	{"rules", eachFamily(`ip $f rule | sed -n 's/^\(15...\):.*/\1/p' |
		while read p; do ip $f rule del priority $p; done`),
		eachFamily("ip $f rule | grep -q '^15900:'")},
	{"kept rules", eachFamily(`for p in 32700 32701 32702; do
		while ip $f rule del priority $p 2>/dev/null; do :; done; done`),
		eachFamily("ip $f rule | grep -q '^32702:'")},
	{"filter", "nft flush ruleset", "nft list chain inet ztb forward"},
}

// TestTwoLayersGone takes any two layers away, in either order, before a reload and before a start
// of the daemon, while clients send all the time.
func TestTwoLayersGone(t *testing.T) {
	t.Parallel()
	require(t, netlab.Root, netlab.OpenVPN, netlab.IPTables)
	for name, again := range map[string]func(b *box, remove func()){
		"reload": func(b *box, remove func()) {
			must(b.t, b.daemon.Signal(syscall.SIGSTOP))
			remove()
			must(b.t, b.daemon.Signal(syscall.SIGHUP))
			must(b.t, b.daemon.Signal(syscall.SIGCONT))
		},
		"killed and started": func(b *box, remove func()) {
			b.daemon.KillAlone()
			remove()
			b.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			twoLayersGone(t, again)
		})
	}
}

func twoLayersGone(t *testing.T, again func(b *box, remove func())) {
	top, b, leaks := watchedGateway(t)
	streams := []*lab.Stream{}
	for _, version := range []lab.Version{lab.IPv4, lab.IPv6} {
		for _, kind := range []lab.Kind{lab.UDP, lab.DNS} {
			s, err := top.ClientStream(kind, version, 200)
			must(t, err)
			streams = append(streams, s)
		}
	}
	send := func() {
		t.Helper()
		for _, s := range streams {
			before, _, _ := s.Counts()
			await(t, "packets of a client", func() bool {
				sent, _, _ := s.Counts()
				return sent >= before+10
			})
		}
	}
	for _, first := range layers {
		for _, second := range layers {
			if first == second {
				continue
			}
			again(b, func() {
				b.sh(first.remove)
				b.sh(second.remove)
				send()
			})
			for _, l := range layers {
				await(t, fmt.Sprintf("%s, after %s and %s were gone", l.name, first.name, second.name),
					func() bool { return b.try(l.there) == nil })
			}
		}
	}
	send()
	for _, s := range streams {
		t.Logf("a client's packets: %v", s.Stop())
	}
	noLeak(t, leaks)
	b.daemon.KillAlone()
	control, err := top.WatchLeaks()
	must(t, err)
	for _, l := range layers {
		b.sh(l.remove)
	}
	s, err := top.ClientStream(lab.UDP, lab.IPv4, 200)
	must(t, err)
	streams = []*lab.Stream{s}
	send()
	s.Stop()
	must(t, control.Stop())
	if r, err := control.Result(); err != nil || r.Matched == 0 {
		t.Errorf("without any layer nothing leaks, the capture is blind: %v, %v", r, err)
	}
}

// TestIngressIsRenamed gives the ingress another name while clients send, and then takes the filter
// away: to a host that forwards it would be a link like another.
func TestIngressIsRenamed(t *testing.T) {
	t.Parallel()
	require(t, netlab.Root, netlab.OpenVPN, netlab.IPTables)
	top, b, _ := watchedGateway(t)
	b.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	b.sh("ip link set " + lab.IngressIface + " name foo0")
	b.await("the renamed ingress", func(st api.Status) bool {
		_, found := condition(st, health.IngressMissing)
		return found
	})
	leaks, err := top.WatchLeaks()
	must(t, err)
	send := func() {
		t.Helper()
		for _, version := range []lab.Version{lab.IPv4, lab.IPv6} {
			s, err := top.ClientStream(lab.UDP, version, 200)
			must(t, err)
			await(t, "packets of a client", func() bool { n, _, _ := s.Counts(); return n >= 20 })
			s.Stop()
		}
	}
	send()
	must(t, b.daemon.Signal(syscall.SIGSTOP))
	b.sh("nft flush ruleset")
	send()
	must(t, b.daemon.Signal(syscall.SIGCONT))
	noLeak(t, leaks)
	b.sh("ip link set foo0 name " + lab.IngressIface)
	b.awaitEgress("provider")
	s, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)
	await(t, "answers to a client", func() bool { _, n, _ := s.Counts(); return n > 0 })
	s.Stop()
}
