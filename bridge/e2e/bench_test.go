package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// The benchmarks compare two labs that run beside each other and differ in one thing. Measurements
// alternate between the two, so that whatever else the machine does hits both alike; the ratio is
// what counts.
const (
	rounds      = 12              // each measures both sides once, the order changing
	measurement = 4 * time.Second // of one side in one round
)

// byHand gives the box the path that ztbridge would, as a competent user does with ip, iptables and
// a plain openvpn. Clamping the segments' size is what many forget.
func byHand(b *testing.B, top *lab.Topology, ingress string, clamp bool) {
	b.Helper()
	ns, provider := top.Box, top.Providers[0]
	profile := filepath.Join(b.TempDir(), "by-hand.ovpn")
	must(b, os.WriteFile(profile, []byte(provider.Config()), 0o600))
	_, err := ns.Start(netlab.Command("openvpn", "--config", profile, "--dev", "tun0",
		"--route-noexec"))
	must(b, err)
	must(b, ns.Forwarding())
	script := fmt.Sprintf(`set -e
until ip -4 addr show dev tun0 2>/dev/null | grep -q inet; do sleep 0.1; done
ip route add default dev tun0 table 100
ip rule add iif %[1]s lookup main suppress_prefixlength 0 priority 1000
ip rule add iif %[1]s lookup 100 priority 1001
iptables -t nat -A POSTROUTING -o tun0 -j MASQUERADE
iptables -A FORWARD -i %[1]s -o tun0 -j ACCEPT
iptables -A FORWARD -i tun0 -o %[1]s -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
`, ingress)
	if clamp {
		script += "iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n"
	}
	ctx, cancel := context.WithTimeout(b.Context(), waitTimeout)
	defer cancel()
	_, err = ns.Run(ctx, "sh", "-c", script)
	must(b, err)
}

// asCards has the labs' wires carry what those of machines do.
func asCards(b *testing.B, labs ...*lab.Topology) {
	b.Helper()
	require(b, netlab.Ethtool)
	for _, top := range labs {
		must(b, top.LikeCards(b.Context()))
	}
}

// bridged starts ztbridge on the lab's box and returns when traffic flows.
func bridged(b testing.TB, top *lab.Topology, config string) *box {
	b.Helper()
	x := newBox(b, top.Box)
	x.bridge(top, config)
	return x
}

// bridge does the same on a box that is there.
func (b *box) bridge(top *lab.Topology, config string) {
	b.t.Helper()
	b.write("provider.ovpn", top.Providers[0].Config())
	if len(top.Providers) > 1 {
		b.write("backup.ovpn", top.Providers[1].Config())
	}
	b.write("ztbridge.yaml", config)
	b.start()
	b.await("a tunnel that answers", func(st api.Status) bool {
		return len(st.Egresses) > 0 && st.Egresses[0].State == "up" && st.Egresses[0].RTT > 0 &&
			len(st.Policies) > 0 && st.Policies[len(st.Policies)-1].Egress == "provider"
	})
}

// path is what is measured.
type path struct{ internet, client *netlab.Namespace }

func across(top *lab.Topology) path { return path{top.Internet, top.Client} }

// iperf measures TCP between a client and its Internet, in Mbit/s.
func iperf(b *testing.B, p path, download bool) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), measurement+waitTimeout)
	defer cancel()
	result, err := lab.IPerf{Server: p.internet, Client: p.client, Addr: lab.ClientTarget4,
		Duration: measurement, Download: download}.Measure(ctx)
	must(b, err)
	return result.Mbit
}

// compare measures the throughput of two paths.
func compare(b *testing.B, what string, target float64, ours, theirs path, download bool) {
	b.Helper()
	require(b, netlab.IPerf3)
	compareBy(b, what, target, ours, theirs,
		gauge{unit: "Mbit/s", measure: func(p path) float64 { return iperf(b, p, download) }})
}

// gauge is what paths are compared by.
type gauge struct {
	unit    string
	less    bool // is better
	measure func(path) float64
}

// compareBy measures two paths in turn and reports both medians and the median of the rounds'
// ratios.
func compareBy(b *testing.B, what string, target float64, ours, theirs path, by gauge) {
	b.Helper()
	for b.Loop() {
		var us, them, ratios []float64
		for round := range rounds {
			var x, y float64
			if round%2 == 0 {
				x, y = by.measure(ours), by.measure(theirs)
			} else {
				y, x = by.measure(theirs), by.measure(ours)
			}
			ratio := x / y
			if by.less {
				ratio = y / x
			}
			us, them, ratios = append(us, x), append(them, y), append(ratios, ratio)
		}
		reportRatio(b, what, by.unit, target, us, them, ratios)
	}
}

// BenchmarkThroughput compares ztbridge with the same path configured by hand.
//
//	client ── box ══ OpenVPN ══ provider ── Internet
func BenchmarkThroughput(b *testing.B) {
	for _, transport := range []struct {
		proto            lab.Proto
		upload, download float64 // targets
	}{
		{lab.OverUDP, 0.98, 0.98},
		// A provider's server delays what it sends, which a customer cannot help: only the upload
		// gains.
		{lab.OverTCP, 1.4, 0.98},
	} {
		b.Run(string(transport.proto), func(b *testing.B) {
			opts := lab.Options{
				Providers: []lab.ProviderOptions{{Protos: []lab.Proto{transport.proto}}}}
			ours, theirs := standard(b, opts), standard(b, opts)
			bridged(b, ours, gatewayConfig)
			byHand(b, theirs, lab.IngressIface, true)
			asCards(b, ours, theirs)
			b.Run("upload", func(b *testing.B) {
				compare(b, fmt.Sprintf("upload, tunnel over %s", transport.proto), transport.upload,
					across(ours), across(theirs), false)
			})
			b.Run("download", func(b *testing.B) {
				compare(b, fmt.Sprintf("download, tunnel over %s", transport.proto),
					transport.download, across(ours), across(theirs), true)
			})
		})
	}
}

// BenchmarkLine compares the same where the box is at a home's line and the tunnel goes over TCP.
//
//	client ── box ~~ OpenVPN, TCP ~~ provider ── Internet
func BenchmarkLine(b *testing.B) {
	opts := lab.Options{Providers: []lab.ProviderOptions{
		{Protos: []lab.Proto{lab.OverTCP}}}}
	ours, theirs := standard(b, opts), standard(b, opts)
	byLine(b, ours, ours.WAN, aLine)
	byLine(b, theirs, theirs.WAN, aLine)
	bridged(b, ours, gatewayConfig)
	byHand(b, theirs, lab.IngressIface, true)
	compareTransfers(b, "tunnel over TCP, by a line", 1.4, 0.98, across(ours), across(theirs))
}

// BenchmarkZeroTier compares ztbridge with the usual recipe, which leaves the segments' size alone,
// where clients come by real ZeroTier.
func BenchmarkZeroTier(b *testing.B) {
	require(b, netlab.ZeroTier)
	usual := func() (*lab.Topology, *ztlab.Usual) {
		top := standard(b, lab.Options{RemoteClient: true})
		ctx, cancel := context.WithTimeout(b.Context(), 3*waitTimeout)
		defer cancel()
		zt, err := ztlab.NewUsual(ctx, top)
		must(b, err)
		return top, zt
	}
	ours, zt := usual()
	bridged(b, ours, fmt.Sprintf("zerotier: {home: %s, networks: [%s]}\n", zt.Box.Home,
		zt.Network.ID)+`
egress: {provider: {openvpn: {profile: provider.ovpn}}}
probe: {targets: [192.0.2.10], hold_down: 3s}
`)
	theirs, zt := usual()
	byHand(b, theirs, zt.BoxIface, false)
	asCards(b, ours, theirs)
	b.Run("upload", func(b *testing.B) {
		compare(b, "upload by ZeroTier", 1.15, across(ours),
			across(theirs), false)
	})
	b.Run("download", func(b *testing.B) {
		compare(b, "download by ZeroTier", 1.15, across(ours),
			across(theirs), true)
	})
}

// scaled is a configuration with n rules: n-1 for four members each, and one for everybody else.
func scaled(n int) string {
	var s strings.Builder
	s.WriteString(`
ingress: [{interface: ing0, prefixes: [10.78.0.0/16]}]
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  backup: {openvpn: {profile: backup.ovpn}}
probe: {targets: [192.0.2.10], hold_down: 3s}
policy:
`)
	member := netip.MustParseAddr("10.78.0.1")
	for i := range n - 1 {
		var from []string
		for range 4 {
			from, member = append(from, member.String()), member.Next()
		}
		list := []string{"provider, backup", "backup, provider", "backup"}[i%3]
		fmt.Fprintf(&s, "  - {from: [%s], egress: [%s]}\n", strings.Join(from, ", "), list)
	}
	s.WriteString("  - {egress: [provider]}\n")
	return s.String()
}

// BenchmarkScale compares a box of a thousand rules for four thousand members with a box of one
// rule.
func BenchmarkScale(b *testing.B) {
	opts := lab.Options{Providers: []lab.ProviderOptions{{}, {}}}
	many, one := standard(b, opts), standard(b, opts)
	full := bridged(b, many, scaled(1000))
	bridged(b, one, scaled(1))
	asCards(b, many, one)
	b.Run("upload", func(b *testing.B) {
		compare(b, "upload, 1000 rules against 1", 0.95,
			across(many), across(one), false)
	})
	b.Run("download", func(b *testing.B) {
		compare(b, "download, 1000 rules against 1", 0.95, across(many), across(one), true)
	})
	b.Run("reconcile", func(b *testing.B) {
		changed := strings.Replace(scaled(1000), "{from: [10.78.0.1,",
			"{from: [10.78.99.1, 10.78.0.1,", 1)
		reconciles(b, full, "1000 rules: ", scaled(1000), changed,
			limits{again: 2 * time.Second, change: 100 * time.Millisecond,
				nothing: 100 * time.Millisecond})
	})
}

// BenchmarkDaemon measures what the daemon costs a box with one tunnel.
func BenchmarkDaemon(b *testing.B) {
	x := bridged(b, standard(b, lab.Options{}), gatewayConfig)
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			const window = 30 * time.Second
			before := x.cpu()
			time.Sleep(window)
			reportValue(b, "daemon, idle: processor", "% of a core", 0.5,
				100*(x.cpu()-before).Seconds()/window.Seconds())
			reportValue(b, "daemon: memory", "MB", 30, float64(x.rss())/(1<<20))
		}
	})
	b.Run("reconcile", func(b *testing.B) {
		reconciles(b, x, "one rule: ", gatewayConfig, "",
			limits{again: 150 * time.Millisecond, nothing: 20 * time.Millisecond})
	})
}

// BenchmarkHiddenClients measures what the box's own clients cost an idle daemon, against one that
// has none: its rule names a destination, though that is everything.
func BenchmarkHiddenClients(b *testing.B) {
	const none = "policy: [{from: [ing0], to: [0.0.0.0/0, \"::/0\"], egress: [provider]}]\n"
	with := bridged(b, standard(b, lab.Options{}), gatewayConfig)
	without := bridged(b, standard(b, lab.Options{}), gatewayConfig+none)
	const ruled = "ip rule show | grep -q " + decide.PathDevice
	with.await("the hidden clients", func(api.Status) bool { return with.try(ruled) == nil })
	if without.try(ruled) == nil {
		b.Fatal("there are hidden clients beside a rule for destinations")
	}
	for b.Loop() {
		const warmUp, window = 20 * time.Second, 3 * time.Minute
		time.Sleep(warmUp)
		cpu := []time.Duration{with.cpu(), without.cpu()}
		time.Sleep(window)
		share := func(x *box, before time.Duration) float64 {
			return 100 * (x.cpu() - before).Seconds() / window.Seconds()
		}
		one, other := share(with, cpu[0]), share(without, cpu[1])
		own, others := with.memory("RssAnon"), without.memory("RssAnon")
		b.Logf("processor %.3f %% against %.3f %%, memory %.2f MB against %.2f MB", one, other,
			float64(own)/1e6, float64(others)/1e6)
		reportValue(b, "hidden clients, idle: processor", "% of a core", 0.1, one-other)
		reportValue(b, "hidden clients: memory", "MB", 3, float64(own-others)/1e6)
	}
}

// cpu returns the processor time that the daemon has used, without its children's.
func (b *box) cpu() time.Duration { return b.cpuOf(b.daemon.Pid()) }

// cpuOf returns the processor time that a process has used.
func (b *box) cpuOf(pid int) time.Duration {
	b.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	must(b.t, err)
	var total time.Duration
	for _, task := range tasks {
		if text, err := os.ReadFile(task); err == nil { // a thread may have ended
			var ns int64
			_, err = fmt.Sscan(string(text), &ns)
			must(b.t, err)
			total += time.Duration(ns)
		}
	}
	return total
}

// limits are targets for passes of the daemon over the kernel's state.
type limits struct{ again, change, nothing time.Duration }

// reconciles measures passes by what the daemon says of them: after everything of ours was taken
// out of the kernel behind its back, and after a reload with one change (if changed is given). A
// pass with nothing to do leaves no trace: it is measured by asking the daemon what it would do.
func reconciles(b *testing.B, x *box, what, config, changed string, limit limits) {
	b.Helper()
	const passes = 7
	for b.Loop() {
		var again, change, nothing []float64
		for range passes {
			again = append(again, x.pass("everything again", x.wipe,
				func(r api.Reconcile) bool { return len(r.Ops) > 5 }))
			reload := func() { must(b, x.daemon.Signal(syscall.SIGHUP)) }
			x.look() // until it has found peace
			nothing = append(nothing, x.look())
			if changed == "" {
				continue
			}
			x.write("ztbridge.yaml", changed)
			change = append(change,
				x.pass("one change", reload, func(r api.Reconcile) bool { return len(r.Ops) > 0 }))
			x.write("ztbridge.yaml", config)
			x.pass("the change undone", reload,
				func(r api.Reconcile) bool { return len(r.Ops) > 0 })
		}
		reportTime(b, what+"everything applied again", limit.again, again)
		reportTime(b, what+"nothing to do", limit.nothing, nothing)
		if changed != "" {
			reportTime(b, what+"one member more", limit.change, change)
		}
	}
}

// wipe takes everything of ours out of the kernel, while the daemon does not look.
func (b *box) wipe() {
	b.t.Helper()
	must(b.t, b.daemon.Signal(syscall.SIGSTOP))
	b.sh(
		"nft delete table inet ztb; for v in -4 -6; do ip $v rule flush protocol 90; ip $v route flush table all proto 90; done")
	must(b.t, b.daemon.Signal(syscall.SIGCONT))
}

// look returns how long it takes to find out that there is nothing to do, in milliseconds.
func (b *box) look() float64 {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), waitTimeout)
	defer cancel()
	conn := api.Dial(filepath.Join(b.dir, "run", api.SocketName))
	for {
		began := time.Now()
		plan, err := conn.Plan(ctx)
		must(b.t, err)
		if plan == "" {
			return 1000 * time.Since(began).Seconds()
		}
		time.Sleep(100 * time.Millisecond) // a pass was under way
	}
}

// pass does something and returns how long the pass took, in milliseconds, that the condition
// recognises. Only the last pass is to be seen: where another one followed at once, it is done
// again.
func (b *box) pass(what string, do func(), recognise func(api.Reconcile) bool) float64 {
	b.t.Helper()
	conn := api.Dial(filepath.Join(b.dir, "run", api.SocketName))
	ctx, cancel := context.WithTimeout(b.t.Context(), waitTimeout)
	defer cancel()
	for {
		began := time.Now()
		do()
		for time.Since(began) < 3*time.Second {
			st, err := conn.Status(ctx)
			if err != nil {
				b.t.Fatalf("waiting for a pass after %s: %v", what, err)
			}
			if r := st.Reconcile; r.At.After(began) && recognise(r) {
				return 1000 * r.Duration
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}
