package resolver

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute/netlab"
)

const (
	rootsEnv   = "ZTB_TEST_RESOLVER_ROOTS"
	labListen  = "127.0.0.1:5353"
	labServer  = "198.51.100.53:853"
	labAddress = "198.51.100.53/32"
)

// TestMain makes the test program a resolver when it is asked to, so that all of it is in the box's
// namespace.
func TestMain(m *testing.M) {
	file := os.Getenv(rootsEnv)
	if file == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	text, err := os.ReadFile(file)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(text) {
		fmt.Fprintln(os.Stderr, "no roots", err)
		os.Exit(1)
	}
	r := New(Config{
		Listen: netip.MustParseAddrPort(labListen), Mark: testMark, Roots: roots,
		Upstreams: []Upstream{{netip.MustParseAddrPort(labServer), testName}},
	})
	if err := r.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The same resolver is reached by two ways, of which one is the egress:
//
//	         ┌─ eth0 ── wan       198.51.100.53    main:     default via wan
//	box ─────┤
//	         └─ tun0 ── provider  198.51.100.53    marked:   default via provider, else unreachable
func TestOnlyByItsEgress(t *testing.T) {
	b := newBench(t)
	box := namespace(t, "box")
	servers := map[string]*dotServer{}
	for i, uplink := range []struct{ label, iface string }{{"wan", "eth0"}, {"provider", "tun0"}} {
		ns := namespace(t, uplink.label)
		addr := func(host int) []netip.Prefix {
			return []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.%d.%d/24", i, host))}
		}
		_, err := netlab.Connect(box, netlab.Iface{Name: uplink.iface, Addrs: addr(2)}, ns,
			netlab.Iface{Name: "eth0", Addrs: addr(1)})
		must(t, err)
		must(t, ns.IP("addr add "+labAddress+" dev lo"))
		l, err := ns.Listen("tcp", labServer)
		must(t, err)
		servers[uplink.label] = startDoT(t, l, b.ca.issue(t, testName), byte(i+1))
	}
	must(t, box.IP(
		"route add default via 10.0.0.1",
		"route add default via 10.0.1.1 dev tun0 table 100",
		"route add unreachable default metric 4294967295 table 100",
		fmt.Sprintf("rule add fwmark %#x lookup 100", testMark),
	))
	startResolver(t, box, b)

	if a := askIn(t, box); from(a) != 2 {
		t.Fatalf("not answered by the provider's side: %v", a)
	}
	must(t, box.IP("link set tun0 down"))
	if a := askIn(t, box); a.Rcode != dns.RcodeServerFailure {
		t.Errorf("with the egress down: %v", a)
	}
	must(t, box.IP("link set tun0 up", "route add default via 10.0.1.1 dev tun0 table 100"))
	for deadline := time.Now().Add(20 * time.Second); ; {
		if a := askIn(t, box); from(a) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no answer after the egress came back")
		}
	}
	if n := servers["wan"].listener.accepted.Load(); n != 0 {
		t.Errorf("%d connections left by the WAN", n)
	}
}

func startResolver(t *testing.T, box *netlab.Namespace, b *bench) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "roots.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: b.ca.cert.Raw}), 0o600))
	cmd := netlab.Command(os.Args[0])
	cmd.Env = append(os.Environ(), rootsEnv+"="+file)
	p, err := box.Start(cmd)
	must(t, err)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := box.Dial(t.Context(), "tcp", labListen)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) || !p.Running() {
			t.Fatalf("the resolver does not listen: %v; %s", err, strings.TrimSpace(p.Log()))
		}
	}
}

func askIn(t *testing.T, box *netlab.Namespace) *dns.Msg {
	t.Helper()
	c, err := box.Dial(t.Context(), "tcp", labListen)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	conn := dns.Conn{Conn: c}
	must(t, conn.WriteMsg(new(dns.Msg).SetQuestion("a.example.", dns.TypeA)))
	a, err := conn.ReadMsg()
	must(t, err)
	return a
}

func namespace(t *testing.T, label string) *netlab.Namespace {
	t.Helper()
	ns, err := netlab.NewNamespace(label)
	must(t, err)
	t.Cleanup(func() { must(t, ns.Close()) })
	return ns
}
