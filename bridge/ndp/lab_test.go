package ndp

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute/netlab"
)

// The lab: a router that believes a whole /64 to be on its link, as providers' routers do.
//
//	router ──────── 2001:db8:1::/64 ──────── box ──── member
//	 eth0 ::1                          ::2 eth0  zt0   ::80:0:0:7, in 2001:db8:1:0:80::/80
type top struct {
	t                   *testing.T
	router, box, member *netlab.Namespace
	wan                 *netlab.Link
}

const (
	prefix80 = "2001:db8:1:0:80::/80"
	inUse    = "2001:db8:1:0:80::7"
	notInUse = "2001:db8:1:0:80::8"
	outside  = "2001:db8:1:0:81::7"
	proxyEnv = "ZTB_TEST_NDP_PROXY"
)

// TestMain makes the test program a proxy when it is asked to: a proxy must run in the box's
// namespace from its first to its last thread.
func TestMain(m *testing.M) {
	iface := os.Getenv(proxyEnv)
	if iface == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	p := New(Config{
		Iface: iface,
		Ours: func(a netip.Addr) bool {
			ours := a == netip.MustParseAddr(inUse)
			if !ours {
				fmt.Fprintln(os.Stderr, "foreign", a)
			}
			return ours
		},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err := p.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func newLab(t *testing.T) *top {
	netlab.Require(t, netlab.Root)
	l := &top{t: t, router: namespace(t, "router"), box: namespace(t, "box"),
		member: namespace(t, "member")}
	p := netip.MustParsePrefix
	var err error
	l.wan, err = netlab.Connect(
		l.router, netlab.Iface{Name: "eth0", Addrs: []netip.Prefix{p("2001:db8:1::1/64")}},
		l.box, netlab.Iface{Name: "eth0", Addrs: []netip.Prefix{p("2001:db8:1::2/64")},
			Routes: netlab.DefaultVia(netip.MustParseAddr("2001:db8:1::1"))})
	must(t, err)
	_, err = netlab.Connect(
		l.box, netlab.Iface{Name: "zt0", Routes: []netlab.Route{{Dst: p(prefix80)}}},
		l.member, netlab.Iface{Name: "zt0",
			Addrs: []netip.Prefix{p(inUse + "/80"), p(notInUse + "/80")}})
	must(t, err)
	must(t, l.box.Sysctl("net/ipv6/conf/all/forwarding=1"))
	must(t, l.member.IP("route add default via "+l.linkLocal(l.box, "zt0")+" dev zt0"))
	return l
}

func (l *top) linkLocal(ns *netlab.Namespace, iface string) string {
	l.t.Helper()
	out := l.run(ns, "ip", "-6", "-o", "addr", "show", "dev", iface, "scope", "link")
	_, rest, _ := strings.Cut(out, "inet6 ")
	addr, _, _ := strings.Cut(rest, "/")
	return addr
}

func (l *top) run(ns *netlab.Namespace, args ...string) string {
	l.t.Helper()
	out, err := ns.Run(l.t.Context(), args[0], args[1:]...)
	must(l.t, err)
	return out
}

func (l *top) proxy() *netlab.Process {
	l.t.Helper()
	cmd := netlab.Command(os.Args[0])
	cmd.Env = append(os.Environ(), proxyEnv+"=eth0")
	p, err := l.box.Start(cmd)
	must(l.t, err)
	l.await(p, "the proxy to answer", func() bool { return strings.Contains(p.Log(), "answers") })
	return p
}

func (l *top) await(p *netlab.Process, what string, ok func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) || p != nil && !p.Running() {
			l.t.Fatalf("waited in vain for %s: %s", what, p.Log())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// reaches sends one ping from the router and reports whether it came back.
func (l *top) reaches(addr string) bool {
	_, err := l.router.Run(l.t.Context(), "ping", "-6", "-c", "1", "-W", "2", addr)
	return err == nil
}

func (l *top) neighbour(addr string) string {
	return l.run(l.router, "ip", "-6", "neigh", "show", "to", addr, "dev", "eth0")
}

func TestRouterReachesMembers(t *testing.T) {
	l := newLab(t)
	if l.reaches(inUse) {
		t.Fatal("the member is reached without the proxy: the lab proves nothing")
	}
	l.run(l.router, "ip", "-6", "neigh", "flush", "dev", "eth0")
	p := l.proxy()
	if !l.reaches(inUse) {
		t.Fatalf("the member is not reached: %s; %s", l.neighbour(inUse), p.Log())
	}
	for _, addr := range []string{notInUse, outside, "2001:db8:1::abcd"} {
		if l.reaches(addr) {
			t.Errorf("%s is answered for: %s", addr, l.neighbour(addr))
		}
		if n := l.neighbour(addr); strings.Contains(n, "lladdr") {
			t.Errorf("neighbour %s", n)
		}
	}

	// The router probes by unicast what it has not heard of for a while.
	l.run(l.router, "ip", "-6", "neigh", "change", inUse, "dev", "eth0", "nud", "probe")
	l.await(p, "the probe to be answered",
		func() bool { return strings.Contains(l.neighbour(inUse), "REACHABLE") })

	must(t, p.Signal(unix.SIGTERM))
	must(t, p.Wait(t.Context()))
	if !strings.Contains(p.Log(), "foreign") {
		t.Errorf("no foreign address was asked for: %s", p.Log())
	}
}

func TestDuplicateIsDefended(t *testing.T) {
	l := newLab(t)
	l.proxy()
	must(t, l.router.Sysctl("net/ipv6/conf/all/accept_dad=1", "net/ipv6/conf/eth0/accept_dad=1",
		"net/ipv6/conf/eth0/dad_transmits=1"))
	state := func(addr string) string {
		return l.run(l.router, "ip", "-6", "-o", "addr", "show",
			"to", addr)
	}
	for _, addr := range []string{inUse, outside} {
		l.run(l.router, "ip", "-6", "addr", "add", addr+"/128", "dev", "eth0")
		l.await(nil, "the end of duplicate detection", func() bool {
			s := state(addr)
			return !strings.Contains(s, "tentative") || strings.Contains(s, "dadfailed")
		})
		if failed := strings.Contains(state(addr), "dadfailed"); failed != (addr == inUse) {
			t.Errorf("%s taken for a duplicate: %v", addr, failed)
		}
	}
}

// The box's own traffic and whatever else comes along the link must not disturb the proxy.
func TestGarbageAndFlood(t *testing.T) {
	l := newLab(t)
	p := l.proxy()
	l.await(p, "the proxy to limit its answers", func() bool {
		must(t, l.router.Do(func() error { return throw(t, 10000) }))
		return strings.Contains(p.Log(), "too many")
	})
	l.await(p, "the proxy to answer after garbage", func() bool { return l.reaches(inUse) })
	must(t, p.Signal(unix.SIGTERM))
	must(t, p.Wait(t.Context()))
	t.Logf("%s", p.Log())
	if strings.Contains(p.Log(), "Invalid:0 ") {
		t.Error("nothing was refused: the garbage proves nothing")
	}
}

// throw sends frames that look ever more like solicitations, valid ones included.
func throw(t *testing.T, frames int) error {
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: ethIPv6, Ifindex: ifi.Index, Halen: 6,
		Addr: [8]byte{0x33, 0x33, 0xff, 0, 0, 7}}
	good := datagram(t, netip.MustParseAddr("fe80::bad"), group,
		solicit(netip.MustParseAddr(inUse), sourceOption()))
	for i := range frames {
		b := bytes.Clone(good)
		switch i % 4 {
		case 0:
			_, _ = rand.Read(b)
		case 1:
			_, _ = rand.Read(b[headerLen+1:])
		case 2:
			b = b[:headerLen+i%33]
		}
		if err := unix.Sendto(fd, b, 0, to); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
	return nil
}

func TestInterfaceGoesAndComes(t *testing.T) {
	l := newLab(t)
	p := l.proxy()
	must(t, l.wan.Delete())
	ended := func(p *netlab.Process) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if p.Wait(ctx) == nil || !strings.Contains(p.Log(), ErrInterface.Error()) {
			t.Fatalf("an interface that vanished ends the proxy with %q", p.Log())
		}
	}
	ended(p)

	cmd := netlab.Command(os.Args[0])
	cmd.Env = append(os.Environ(), proxyEnv+"=eth0")
	p, err := l.box.Start(cmd)
	must(t, err)
	ended(p)

	must(t, l.wan.Recreate())
	p = l.proxy()
	l.await(p, "the member to be reached again", func() bool { return l.reaches(inUse) })
	must(t, l.box.IP("link set eth0 down"))
	ended(p)
}

func namespace(t *testing.T, label string) *netlab.Namespace {
	t.Helper()
	ns, err := netlab.NewNamespace(label)
	must(t, err)
	t.Cleanup(func() { must(t, ns.Close()) })
	return ns
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
