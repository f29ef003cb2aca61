package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ztbridge/policyroute"
)

func TestHostState(t *testing.T) {
	needs(t, "ip")
	inNamespace(t, func() {
		host(t)
		sh(t, `
ip route add default via 10.147.17.254 metric 50
ip route add default dev lan metric 5000
ip route add 0.0.0.0/1 dev lan
ip link set lan.peer down
ip tuntap del dev tunztb0 mode tun
echo 2 > /proc/sys/net/ipv6/conf/zt1/accept_ra; for i in lan.peer wan.peer zt1.peer; do echo 0 > /proc/sys/net/ipv6/conf/$i/accept_ra; done`)
		k := open(t, "")
		w, err := k.HostState(Wanted{})
		if err != nil {
			t.Error(err)
		}
		wantDefaults := []DefaultRoute{
			{Family: policyroute.V4, Iface: "wan", Gateway: addr("192.0.2.1")},
			{Family: policyroute.V4, Iface: "zt1", Gateway: addr("10.147.17.254"), Metric: 50},
			{Family: policyroute.V4, Iface: "lan", Metric: 5000},
			{Family: policyroute.V6, Iface: "wan", Gateway: addr("2001:db8::1"), Metric: 1024},
		}
		if diff := cmp.Diff(wantDefaults, w.Defaults,
			cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("defaults (-want +have):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"lan", "wan"}, w.AcceptRA); diff != "" {
			t.Errorf("AcceptRA (-want +have):\n%s", diff)
		}
		i := slices.IndexFunc(w.Links, func(l Link) bool { return l.Name == "wan" })
		if i < 0 {
			t.Errorf("wan is missing: %v", w.Links)
			return
		}
		wan := w.Links[i]
		want := Link{Name: "wan", Up: true, MTU: 1500,
			Addrs: []netip.Prefix{prefix("192.0.2.2/24"), prefix("2001:db8::2/64")}}
		ignored := cmpopts.IgnoreFields(Link{}, "Index", "BytesIn", "BytesOut",
			"PacketsIn", "PacketsOut")
		if diff := cmp.Diff(want, wan, cmpopts.EquateComparable(netip.Prefix{}),
			ignored); diff != "" {
			t.Errorf("link (-want +have):\n%s", diff)
		}
		if !w.IPv6 {
			t.Error("no IPv6")
		}
	})
}

// trigger collects what Watch says.
type trigger struct {
	mu     sync.Mutex
	causes []string
	rung   chan struct{}
}

func newTrigger() *trigger { return &trigger{rung: make(chan struct{}, 1)} }

func (d *trigger) fire(cause string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.causes = append(d.causes, cause)
	select {
	case d.rung <- struct{}{}:
	default:
	}
}

// await waits for a cause that begins so, and forgets what came before it.
func (d *trigger) await(t *testing.T, prefix string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		d.mu.Lock()
		for i, c := range d.causes {
			if strings.HasPrefix(c, prefix) {
				d.causes = d.causes[i+1:]
				d.mu.Unlock()
				return
			}
		}
		d.mu.Unlock()
		select {
		case <-d.rung:
		case <-deadline:
			t.Errorf("no event %q; %v", prefix, d.causes)
			return
		}
	}
}

// watch runs Watch in the namespace until stop is called, which waits for its end.
func watch(t *testing.T, th *thread, k *Kernel, notify func(string)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		th.do(func() {
			if err := k.Watch(ctx, notify); err != nil {
				t.Errorf("Watch: %v", err)
			}
		})
	}()
	return func() { cancel(); <-ended }
}

// What took routes from router advertisements before we let it go on taking them still counts as
// doing so: else the next pass would put it back, and the one after that change it again.
func TestHostStateRemembersAcceptRA(t *testing.T) {
	needs(t, "ip")
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		before, err := k.HostState(Wanted{})
		if err != nil {
			t.Error(err)
		}
		plan := policyroute.Plan{Ops: []policyroute.Op{policyroute.SetSysctl{
			Sysctl: policyroute.Sysctl{Key: "net/ipv6/conf/lan/accept_ra", Value: "2"}}}}
		if err := k.Apply(context.Background(), plan); err != nil {
			t.Error(err)
		}
		after, err := k.HostState(Wanted{})
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(before.AcceptRA, after.AcceptRA); diff != "" ||
			!slices.Contains(after.AcceptRA, "lan") {
			t.Errorf("AcceptRA (-before +after):\n%s", diff)
		}
	})
}

func TestWatchFires(t *testing.T) {
	needs(t, "ip", "nft", "iptables", "nsenter")
	th := newThread(t)
	var k *Kernel
	th.do(func() { host(t); k = open(t, "") })
	fired := newTrigger()
	stop := watch(t, th, k, fired.fire)
	defer stop()
	fired.await(t, "watching")
	for _, s := range []struct{ command, cause string }{
		{"ip link set lan down", "link"},
		{"ip addr add 198.51.100.1/32 dev zt1", "address"},
		{"ip route add 198.51.100.0/24 dev zt1", "route"},
		{"ip -6 route add 2001:db8:5::/48 dev zt1", "route"},
		{"ip rule add priority 15900 iif zt1 unreachable", "rule"},
		{"ip -6 rule add priority 15900 iif zt1 unreachable", "rule"},
		{"nft add table inet ztb", "filter, by nft"},
		{"iptables -N ZTB-FORWARD", "filter, by iptables"},
		{"echo 1 > /proc/sys/net/ipv4/conf/zt1/forwarding", "sysctl"},
		{"echo 1 > /proc/sys/net/ipv6/conf/zt1/forwarding", "sysctl"},
		{"echo 2 > /proc/sys/net/ipv4/conf/zt1/rp_filter", "sysctl"},
		{"ip link del wan", "link"},
	} {
		th.sh(t, s.command)
		fired.await(t, s.cause)
	}
}

// Losing events must not end the watch, nor pass unnoticed.
func TestWatchSurvivesFloods(t *testing.T) {
	needs(t, "ip", "nsenter")
	th := newThread(t)
	var k *Kernel
	th.do(func() { host(t); k = open(t, "") })
	fired, flooded := newTrigger(), make(chan struct{})
	stop := watch(t, th, k, func(cause string) {
		fired.fire(cause)
		if cause == "rule" {
			<-flooded // reads nothing meanwhile
		}
	})
	defer stop()
	fired.await(t, "watching")
	var plan policyroute.Plan
	for i := range 6000 {
		plan.Ops = append(plan.Ops, policyroute.AddRule{Rule: policyroute.Rule{
			Family: policyroute.V4, Priority: 15899 - i%800, IIF: "zt1", Action: policyroute.Lookup,
			Table: 23101,
			From:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32),
		}})
	}
	if err := k.Apply(context.Background(), plan); err != nil {
		t.Error(err)
	}
	close(flooded)
	fired.await(t, "events of the kernel were lost")
	th.sh(t, "ip link set lan down")
	fired.await(t, "link")
}

// TestNeighboursAreHeardOf when they are met, in both IP versions.
func TestNeighboursAreHeardOf(t *testing.T) {
	th := newThread(t)
	th.sh(t, `ip link add lan type veth peer name far; ip link set lan up; ip link set far up
ip addr add 10.1.0.1/24 dev lan; ip addr add fd01::1/64 dev lan nodad`)
	var k *Kernel
	th.do(func() { k = open(t, "") })
	ctx, cancel := context.WithCancel(t.Context())
	met, ended := make(chan Neighbour, 64), make(chan error, 1)
	go th.do(func() {
		ended <- k.WatchNeighbours(ctx, func(n Neighbour) { met <- n })
	})
	const mac = "02:00:00:00:00:07"
	for _, addr := range []string{"10.1.0.7", "fd01::7"} {
		for found := false; !found; {
			// Until the watch has begun, nothing is heard.
			th.sh(t, "ip neigh replace "+addr+" lladdr "+mac+" dev lan nud stale; "+
				"ip neigh replace "+addr+" lladdr "+mac+" dev lan nud reachable")
			select {
			case n := <-met:
				found = n.Addr.String() == addr && n.MAC.String() == mac
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	th.sh(t, "ip neigh replace fe80::7 lladdr "+mac+" dev lan; ip neigh flush dev lan")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(met)
	for n := range met {
		if n.Addr.IsLinkLocalUnicast() {
			t.Errorf("met %v", n)
		}
	}
}

func TestWatchEndsWithoutLeaks(t *testing.T) {
	th := newThread(t)
	var k *Kernel
	th.do(func() { k = open(t, "") })
	before, fds := runtime.NumGoroutine(), openFiles(t)
	for range 20 {
		fired := newTrigger()
		stop := watch(t, th, k, fired.fire)
		fired.await(t, "watching")
		stop()
	}
	if now := openFiles(t); now > fds {
		t.Errorf("%d files are open, %d were", now, fds)
	}
	if now := runtime.NumGoroutine(); now > before+2 {
		t.Errorf("%d goroutines, %d were", now, before)
	}
}

func TestCutFlows(t *testing.T) {
	needs(t, "ip", "conntrack")
	inNamespace(t, func() {
		sh(t, `
flow() {
	conntrack -I -p udp -s $1 -d $2 -r $2 -q $3 --sport 1000 --dport 53 \
		--reply-port-src 53 --reply-port-dst 1000 -t 60; }
ip link set lo up
flow 10.147.17.50 8.8.8.8 10.8.0.2
flow 10.147.17.51 8.8.8.8 10.9.0.2
flow 192.0.2.2 8.8.8.8 192.0.2.2
flow 198.51.100.9 10.147.17.50 198.51.100.9
flow fd00::50 2001:db8::8 fd00::50
flow fd01::50 2001:db8::8 fd01::50
redirected() {
	conntrack -I -p udp -s $1 -d 8.8.8.8 -r 10.147.17.1 -q $1 --sport 1000 --dport 53 \
		--reply-port-src $2 --reply-port-dst 1000 -t 60; }
redirected 10.147.18.52 23153
redirected 10.147.18.53 23154`)
		k := open(t, "")
		cut, err := k.CutFlows(context.Background(), Flows{
			Sources:    []netip.Prefix{prefix("10.147.17.50/32"), prefix("fd00::/64")},
			Translated: []netip.Addr{addr("10.9.0.2")},
			Redirected: []uint16{23153, 53},
		})
		if err != nil || cut != 5 {
			t.Errorf("cut %d flows, %v; want 5", cut, err)
		}
		left := sh(t, "conntrack -L 2>/dev/null; conntrack -L -f ipv6 2>/dev/null")
		if !strings.Contains(left, "src=192.0.2.2") || !strings.Contains(left, "src=fd01::50") ||
			strings.Contains(left, "10.147.17.5") ||
			strings.Contains(left, "10.147.18.52") || !strings.Contains(left, "10.147.18.53") {
			t.Errorf("left:\n%s", left)
		}
		if n, err := k.CutFlows(context.Background(), Flows{}); n != 0 || err != nil {
			t.Errorf("cutting nothing: %d, %v", n, err)
		}
		var asked []string
		cut, err = k.CutFlows(context.Background(),
			Flows{Moved: func(client, remote netip.Addr, steered bool) bool {
				asked = append(asked, fmt.Sprintf("%v %v %v", client, remote, steered))
				return client == addr("fd01::50") && remote == addr("2001:db8::8")
			}})
		if err != nil || cut != 1 {
			t.Errorf("cut %d flows by what they are, %v; want 1", cut, err)
		}
		for _, want := range []string{"192.0.2.2 8.8.8.8 false", "8.8.8.8 192.0.2.2 false",
			"10.147.18.53 8.8.8.8 true"} {
			if !slices.Contains(asked, want) {
				t.Errorf("nobody asked about %s, only about %q", want, asked)
			}
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// IPv6 that is switched off is seen, and whatever of it is asked for all the same stops nothing.
func TestIPv6SwitchedOff(t *testing.T) {
	needs(t, "ip")
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		sh(t,
			"for i in all default; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; done; ip tuntap add dev tunztb1 mode tun")
		k := open(t, record)
		w, err := k.HostState(Wanted{})
		if err != nil || !w.IPv6 {
			t.Errorf("HostState: IPv6 %v, %v", w.IPv6, err)
		}
		for _, l := range w.Links {
			if !l.NoIPv6 {
				t.Errorf("%s has IPv6", l.Name)
			}
		}
		route := policyroute.Route{Family: policyroute.V6, Table: 23102, Dst: prefix("::/0"),
			Metric: 100, Dev: "wan", Gateway: addr("fe80::1")}
		if err := k.Apply(context.Background(), policyroute.Plan{Ops: []policyroute.Op{
			policyroute.AddAddr{Dev: "tunztb1",
				Addr: prefix("fd00:8::2/128")}, policyroute.ReplaceRoute{Route: route},
		}}); err != nil {
			t.Errorf("Apply: %v", err)
		}
		tunnel := policyroute.State{
			Links: []policyroute.Link{
				{Name: "tunztb0", MTU: 1500}, {Name: "tunztb1", Up: true, MTU: 1500,
					Addrs: []netip.Prefix{prefix("fd00:8::2/128")}},
			},
			Sysctls: []policyroute.Sysctl{{Key: "net/ipv6/conf/tunztb1/disable_ipv6", Value: "0"}},
			Routes: []policyroute.Route{{Family: policyroute.V6, Table: 23102, Dst: prefix("::/0"),
				Metric: 100, Dev: "tunztb1"}},
		}
		reach(t, k, tunnel)
	})
}
