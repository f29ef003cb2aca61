package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
)

// TestForeignFirewalls starts on hosts whose own rules would stop what the box is for, as Docker
// and Oracle's cloud images bring them, and leaves those rules as they were.
func TestForeignFirewalls(t *testing.T) {
	t.Parallel()
	for _, host := range []struct{ name, rules string }{
		{"Docker", `iptables -P FORWARD DROP; ip6tables -P FORWARD DROP
			iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -A DOCKER-USER -j RETURN`},
		{"Oracle", `iptables -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
			iptables -A INPUT -p icmp -j ACCEPT; iptables -A INPUT -i lo -j ACCEPT
			iptables -A INPUT -p tcp --dport 22 -m state --state NEW -j ACCEPT
			iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited
			iptables -A FORWARD -j REJECT --reject-with icmp-host-prohibited
			ip6tables -A FORWARD -j REJECT`},
	} {
		t.Run(host.name, func(t *testing.T) {
			top := standard(t, lab.Options{})
			cafe, err := top.AddCafe()
			must(t, err)
			b := newBox(t, top.Box)
			b.sh(host.rules)
			before, err := top.Box.Snapshot(t.Context())
			must(t, err)
			b.write("provider.ovpn", top.Providers[0].Config())
			b.write("ztbridge.yaml",
				gatewayConfig+"endpoint: {address: 198.51.100.2, listen: [udp/1194]}\n")
			b.mustRun("client", "add", "phone")
			profile := b.mustRun("client", "show", "phone")
			b.start()
			b.awaitEgress("provider")
			for _, v := range []lab.Version{lab.IPv4, lab.IPv6} {
				stream, err := top.ClientStream(lab.UDP, v, 100)
				must(t, err)
				awaitAnswers(t, stream, 50)
				stream.Stop()
			}
			phone := connect(t, cafe.Client, profile)
			b.await("the phone", func(st api.Status) bool { return len(st.Clients) == 1 })
			awaitAnswers(t, clientStream(t, top, cafe.Client), 50)
			phone.Stop()

			b.stop()
			b.mustRun("down")
			after, err := top.Box.Snapshot(t.Context())
			must(t, err)
			if diff := after.Diff(before); diff != "" {
				t.Errorf("after `down` the host is not as it was:\n%s", diff)
			}
		})
	}
}

// TestBrokenIPTables bridges on hosts whose iptables is there and does not work, says so, and goes.
func TestBrokenIPTables(t *testing.T) {
	t.Parallel()
	for _, host := range []struct{ name, rules, iptables string }{
		{"a table of others that iptables cannot print", incompatible, ""},
		{"no kernel module", "",
			`case "$1" in --version) echo "iptables v1.8.9 (legacy)"; exit 0;; --noflush) exit 2;; esac; exit 3`},
		{"it lists and does not change", "",
			`case "$1" in --version) echo "iptables v1.8.9 (legacy)"; exit 0;; --noflush) exit 2;; esac; echo "-P FORWARD ACCEPT"`},
	} {
		t.Run(host.name, func(t *testing.T) {
			top := standard(t, lab.Options{})
			b := newBox(t, top.Box)
			b.sh("set -e\n" + host.rules)
			before, err := top.Box.Snapshot(t.Context())
			must(t, err)
			if host.iptables != "" {
				b.stubIPTables(host.iptables)
			}
			b.write("provider.ovpn", top.Providers[0].Config())
			b.write("ztbridge.yaml", gatewayConfig)
			b.mustRun("guard")
			b.start()
			b.awaitEgress("provider")
			stream, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
			must(t, err)
			awaitAnswers(t, stream, 50)
			stream.Stop()
			st := b.await("a word on iptables", func(st api.Status) bool {
				return slices.ContainsFunc(st.Conditions,
					func(c api.Condition) bool { return c.Code == health.IPTables })
			})
			if st.Reconcile.Error != "" {
				t.Errorf("the reconcile fails: %s", st.Reconcile.Error)
			}
			if text, _ := b.run("doctor"); !strings.Contains(text, "warning  iptables ") {
				t.Errorf("doctor says nothing of iptables:\n%s", text)
			}
			b.stop()
			b.mustRun("down")
			after, err := top.Box.Snapshot(t.Context())
			must(t, err)
			if diff := after.Diff(before); diff != "" {
				t.Errorf("after `down` the host is not as it was:\n%s", diff)
			}
		})
	}
}

// TestCommandsWithoutADaemon says what is wrong and what to do, and changes nothing.
func TestCommandsWithoutADaemon(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	before, err := top.Box.Snapshot(t.Context())
	must(t, err)
	plan := b.mustRun("plan")
	for _, want := range []string{"iif ing0", "nft ", "unreachable default"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan lacks %q:\n%s", want, plan)
		}
	}
	for _, want := range []api.State{api.Stopped, api.Closed} {
		out, err := b.run("status", "--json")
		if err == nil || !strings.Contains(out, fmt.Sprintf(`"state": %q`, want)) {
			t.Errorf("status --json without a daemon: %v, want the state %s in %s", err, want, out)
		}
		b.mustRun("guard") // which closes the box
	}
	b.mustRun("down")
	if _, err := b.run("status"); err == nil || !strings.Contains(err.Error(), "ztbridge: hint:") {
		t.Errorf("status without a daemon: %v", err)
	}
	after, err := top.Box.Snapshot(t.Context())
	must(t, err)
	if diff := after.Diff(before); diff != "" {
		t.Errorf("asking changed the host:\n%s", diff)
	}
	b.start()
	b.awaitEgress("provider")
	if _, err := b.run("down"); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("down beside a running daemon: %v", err)
	}
	if plan := b.mustRun("plan"); strings.TrimSpace(plan) != "" {
		t.Errorf("a settled daemon would still change something:\n%s", plan)
	}
}
