package endpoint_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
	"ztbridge/policyroute/netlab"
)

// waitTimeout is how long a test waits for something that happens at once on an idle machine.
const waitTimeout = 40 * time.Second

var (
	boxAddr   = netip.MustParseAddr("203.0.113.1")
	boxAddr6  = netip.MustParseAddr("2001:db8:113::1")
	innerAddr = netip.MustParseAddr("198.51.100.1")
	inner6    = netip.MustParseAddr("2001:db8:51::1")
	proxyAddr = netip.MustParseAddrPort("10.9.0.1:3128")
)

// testbed is the network of the tests:
//
//	clients ── 10.9.0.0/24 ── café ── 203.0.113.0/24 ── box ── 198.51.100.0/24 ── inner
//	                       (drops what                (the endpoint)            (echo)
//	                        a test says)
//
// Nobody but the box has a route to inner, and inner knows the pools by the box alone: an answer
// from inner came through the tunnel.
type testbed struct {
	*shared
	t testing.TB
}

// shared is what all tests of a lab share.
type shared struct {
	lab     *lab.Lab
	café    *netlab.Namespace
	box     *netlab.Namespace
	inner   *netlab.Namespace
	segment *netlab.Segment
	dir     string
	store   *pki.Store
	process *netlab.Process
	control *http.Client
	clients atomic.Int32
}

// with returns the lab for a subtest.
func (l *testbed) with(t testing.TB) *testbed { return &testbed{shared: l.shared, t: t} }

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func newLab(t testing.TB) *testbed {
	t.Helper()
	netlab.Require(t, netlab.Root, netlab.OpenVPN)
	built, err := lab.NewLab()
	must(t, err)
	l := &testbed{shared: &shared{lab: built}, t: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(built.Logs(40))
		}
		if err := built.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	for label, ns := range map[string]**netlab.Namespace{"cafe": &l.café, "box": &l.box,
		"inner": &l.inner} {
		*ns, err = built.Host(label)
		must(t, err)
	}
	l.segment, err = netlab.NewSegment(l.café, "lan",
		prefixes("10.9.0.1/24", "2001:db8:9::1/64")...)
	must(t, err)
	// Otherwise a bridge takes the lowest address of its ports, and hosts that are added change it
	// under the feet of those that are there.
	must(t, l.café.IP("link set lan address 02:00:00:00:09:01"))
	_, err = netlab.Connect(l.café,
		netlab.Iface{Name: "wan", Addrs: prefixes("203.0.113.2/24", "2001:db8:113::2/64")},
		l.box, netlab.Iface{
			Name: "wan", Addrs: prefixes("203.0.113.1/24", "2001:db8:113::1/64"),
			Routes: netlab.DefaultVia(netip.MustParseAddr("203.0.113.2"),
				netip.MustParseAddr("2001:db8:113::2")),
		})
	must(t, err)
	_, err = netlab.Connect(l.box, netlab.Iface{Name: "in",
		Addrs: prefixes("198.51.100.2/24", "2001:db8:51::2/64")},
		l.inner, netlab.Iface{
			Name: "in", Addrs: prefixes("198.51.100.1/24", "2001:db8:51::1/64"),
			Routes: netlab.DefaultVia(netip.MustParseAddr("198.51.100.2"),
				netip.MustParseAddr("2001:db8:51::2")),
		})
	must(t, err)
	for _, router := range []*netlab.Namespace{l.café, l.box} {
		must(t, router.Sysctl("net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"))
	}
	echo, err := lab.ServeEcho(l.inner, innerAddr, inner6)
	must(t, err)
	built.Defer(echo.Close)
	l.startBox()
	return l
}

// startBox starts the endpoint and waits until it listens.
func (l *testbed) startBox() {
	l.t.Helper()
	dir, err := os.MkdirTemp("", "ztbe-")
	must(l.t, err)
	must(l.t, os.Chmod(dir, 0o711)) // openvpn must reach its socket
	l.lab.Defer(func() error {
		if l.process != nil {
			l.process.Stop()
		}
		return os.RemoveAll(dir)
	})
	l.dir, l.store = dir, pki.New(filepath.Join(dir, "state", "pki"))
	l.control = &http.Client{Timeout: waitTimeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "control"))
		},
	}}
	cmd := netlab.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), boxEnv+"="+dir)
	l.process, err = l.box.Start(cmd)
	must(l.t, err)
	l.awaitListening()
}

func (l *testbed) awaitListening() {
	l.t.Helper()
	await(l.t, "the endpoint listens", func() bool {
		st, err := l.statusOrError()
		if err != nil || len(st.Listeners) == 0 {
			return false
		}
		for _, s := range st.Listeners {
			if s.State != endpoint.StateListening {
				return false
			}
		}
		return true
	})
}

// await asks until the answer is yes.
func await(t testing.TB, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); !yes(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s", waitTimeout, what)
		}
	}
}

func (l *testbed) statusOrError() (endpoint.Status, error) {
	var st endpoint.Status
	resp, err := l.control.Get("http://box/status")
	if err != nil {
		return st, err
	}
	defer resp.Body.Close()
	return st, json.NewDecoder(resp.Body).Decode(&st)
}

func (l *testbed) status() endpoint.Status {
	l.t.Helper()
	st, err := l.statusOrError()
	must(l.t, err)
	return st
}

// ask posts to the box and decodes its answer.
func (l *testbed) ask(path string, answer any) {
	l.t.Helper()
	resp, err := l.control.Post("http://box"+path, "", nil)
	must(l.t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		l.t.Fatalf("%s: %s", path, resp.Status)
	}
	must(l.t, json.NewDecoder(resp.Body).Decode(answer))
}

// session returns the connected client of a name on a listener.
func (l *testbed) session(name, listener string) (endpoint.ClientStatus, bool) {
	for _, c := range l.status().Clients {
		if c.Name == name && c.Listener == listener {
			return c, true
		}
	}
	return endpoint.ClientStatus{}, false
}

// add issues a client and returns its profile, as `client show` prints it.
func (l *testbed) add(r pki.Request) (pki.Client, string) {
	l.t.Helper()
	r.LastHost = 1000
	c, err := l.store.Add(r)
	must(l.t, err)
	return c, l.profile(l.store, r.Name)
}

func (l *testbed) profile(s *pki.Store, name string) string {
	l.t.Helper()
	creds, err := s.Credentials(name)
	must(l.t, err)
	text, err := pki.Profile(creds, boxAddr.String(),
		[]pki.Remote{{Proto: "tcp", Port: 443}, {Proto: "udp", Port: 1194}})
	must(l.t, err)
	return string(text)
}

// host adds a client's machine to the café.
func (l *testbed) host() *netlab.Namespace {
	l.t.Helper()
	n := l.clients.Add(1)
	ns, err := l.lab.Host(fmt.Sprintf("c%d", n))
	must(l.t, err)
	_, err = l.segment.Attach(ns, netlab.Iface{
		Name:  "eth0",
		Addrs: prefixes(fmt.Sprintf("10.9.0.%d/24", 10+n), fmt.Sprintf("2001:db8:9::%x/64", 16+n)),
		Routes: netlab.DefaultVia(netip.MustParseAddr("10.9.0.1"),
			netip.MustParseAddr("2001:db8:9::1")),
	})
	must(l.t, err)
	return ns
}

// connect runs a real openvpn with the profile as it is.
func (l *testbed) connect(ns *netlab.Namespace, profile string, extra ...string) *netlab.Process {
	l.t.Helper()
	path := filepath.Join(l.lab.Dir, ns.Label+".ovpn")
	must(l.t, os.WriteFile(path, []byte(profile), 0o600))
	return l.run(ns, path, extra...)
}

// run runs openvpn with the profile in a file.
func (l *testbed) run(ns *netlab.Namespace, path string, extra ...string) *netlab.Process {
	l.t.Helper()
	p, err := ns.Start(netlab.Command("openvpn", append([]string{"--config", path}, extra...)...))
	must(l.t, err)
	return p
}

// drop makes the café drop what matches of a client's packets.
func (l *testbed) drop(ns *netlab.Namespace, match string) {
	l.t.Helper()
	must(l.t, l.café.Nft(fmt.Sprintf(
		"table inet %s {\nchain out {\ntype filter hook forward priority 0\niifname lan ether saddr %s %s drop\n}\n}",
		ns.Label, hardwareAddr(l.t, ns), match)))
}

func hardwareAddr(t testing.TB, ns *netlab.Namespace) string {
	t.Helper()
	out, err := ns.Run(context.Background(), "cat", "/sys/class/net/eth0/address")
	must(t, err)
	return strings.TrimSpace(out)
}

// echoes sends one packet to inner and reports whether it came back.
func echoes(ns *netlab.Namespace, to netip.Addr, wait time.Duration) bool {
	conn, err := ns.Dial(context.Background(), "udp",
		netip.AddrPortFrom(to, lab.EchoPort).String())
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return false
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return false
	}
	buf := make([]byte, 16)
	n, err := conn.Read(buf)
	return err == nil && string(buf[:n]) == "hello"
}

// awaitEcho waits until packets come back through the tunnel.
func awaitEcho(t testing.TB, ns *netlab.Namespace, to netip.Addr) {
	t.Helper()
	await(t, ns.Label+" reaches "+to.String(),
		func() bool { return echoes(ns, to, 500*time.Millisecond) })
}

// awaitLog waits until a client's openvpn says something.
func awaitLog(t testing.TB, p *netlab.Process, texts ...string) {
	t.Helper()
	await(t, fmt.Sprintf("the client says one of %q", texts), func() bool {
		log := p.Log()
		for _, text := range texts {
			if strings.Contains(log, text) {
				return true
			}
		}
		return false
	})
}
