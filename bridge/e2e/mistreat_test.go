package e2e

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// withoutDaemon is how long clients' packets meet what the daemon left in the kernel.
const withoutDaemon = 300 * time.Millisecond

// mistreatment is something that a box is likely to meet.
type mistreatment struct {
	name string
	do   func()
}

// kill ends the openvpn process of the box that has a word in its command line, without a chance to
// tidy up.
func (b *box) kill(word string) {
	b.t.Helper()
	pid := b.openvpn(word)
	if pid == 0 {
		b.t.Fatalf("no openvpn process of %s found", word)
	}
	must(b.t, syscall.Kill(pid, syscall.SIGKILL))
}

// mistreatments are those of every box with one tunnel, to the provider, whoever its clients are.
// config is what it runs with.
func mistreatments(t *testing.T, b *box, provider *lab.Provider, config string) []mistreatment {
	ctx := t.Context()
	ordinary := func() {
		provider.SetPool(netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("fd09::/64"))
		must(t, provider.Restart(ctx))
	}
	return []mistreatment{
		{"openvpn kill -9", func() { b.kill("tunztb-provider") }},
		{"TUN deleted", func() { b.sh("ip link del tunztb-provider") }},
		{"TUN down", func() { b.sh("ip link set tunztb-provider down") }},
		{"server restarted", func() { must(t, provider.Restart(ctx)) }},
		{"new tunnel address", ordinary},
		{"reload", func() { must(t, b.daemon.Signal(syscall.SIGHUP)) }},
		{"bad reload", func() {
			b.write("ztbridge.yaml", config+"\nnonsense: true\n")
			must(t, b.daemon.Signal(syscall.SIGHUP))
			b.await("the refusal", func(st api.Status) bool {
				return slices.ContainsFunc(st.Conditions,
					func(c api.Condition) bool { return c.Code == health.ReloadRefused })
			})
			b.write("ztbridge.yaml", config)
		}},
		{"daemon kill -9", func() {
			b.daemon.KillAlone()
			time.Sleep(withoutDaemon)
			b.start()
		}},
		{"daemon SIGTERM and start",
			func() { b.stop(); time.Sleep(withoutDaemon); b.start() }},
		{"nft flush ruleset", func() { b.sh("nft flush ruleset") }},
		{"iptables -F FORWARD, policy DROP", func() {
			b.sh(
				"iptables -F FORWARD; iptables -P FORWARD DROP; ip6tables -F FORWARD; ip6tables -P FORWARD DROP")
		}},
		{"our routes flushed", func() {
			b.sh("ip route flush proto 90 table all; ip -6 route flush proto 90 table all")
		}},
		{"hostile provider", func() {
			provider.Push(lab.HostileOptions(lab.LANNet4)...)
			must(t, provider.Restart(ctx))
		}},
		{"an address inside the LAN", func() {
			provider.SetPool(lab.LANNet4, netip.MustParsePrefix("fd09::/64"))
			must(t, provider.Restart(ctx))
			b.awaitEgress("")
			provider.Push()
			ordinary()
			b.stop() // a refused push is retried late; a restart is not
			b.start()
		}},
	}
}

// mistreat does one thing after another to a box, and wants the clients' traffic to flow again
// after each, and the main table to be as it was.
func (tr *traffic) mistreat(box *netlab.Namespace, list []mistreatment) {
	tr.t.Helper()
	main, err := box.MainTable(tr.t.Context())
	must(tr.t, err)
	for _, e := range list {
		began := time.Now()
		e.do()
		tr.awaitFlow(e.name)
		now, err := box.MainTable(tr.t.Context())
		must(tr.t, err)
		if now != main {
			tr.t.Errorf("after %s the main table differs:\n%s\nbefore:\n%s", e.name, now, main)
		}
		tr.t.Logf("%s: flows again after %s", e.name, time.Since(began).Round(time.Millisecond))
	}
}
