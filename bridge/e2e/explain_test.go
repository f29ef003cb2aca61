package e2e

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

const everyKindConfig = `
ingress: [ing0]
egress:
  first: {openvpn: {profile: first.ovpn}}
  second: {openvpn: {profile: second.ovpn}}
  direct: {wan: {}}
policy:
  - {from: [10.77.0.3], to: [192.0.2.77], egress: [second]}
  - {from: [10.77.0.3], egress: [direct]}
  - {from: [10.77.0.4], egress: block}
  - {from: [10.77.0.0/24, "fd77::/64"], egress: [first, second, direct]}
probe: {targets: [192.0.2.10, "2001:db8:c0::10"], hold_down: 1s}
`

// TestChoiceAndExplanation: `ztbridge status --of` says by which rule and egress an address leaves,
// and why; the Internet sees the same. A person's choice is in force when the command returns, is
// shown, survives a restart, and steps back while what was chosen is down.
func TestChoiceAndExplanation(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{}, {IPv4Only: true}}})
	must(t, top.Client.IP("addr add 10.77.0.3/24 dev eth0", "addr add 10.77.0.4/24 dev eth0"))
	b := newBox(t, top.Box)
	b.write("first.ovpn", top.Providers[0].Config())
	b.write("second.ovpn", top.Providers[1].Config())
	b.write("ztbridge.yaml", everyKindConfig)
	up := func(st api.Status) bool {
		return len(st.Policies) == 4 && st.Egresses[0].RTT > 0 && st.Egresses[1].RTT > 0 &&
			st.Egresses[2].RTT > 0
	}
	b.start()
	b.await("all egresses", func(st api.Status) bool {
		return up(st) &&
			st.Policies[3].Egress == "first"
	})
	first, second := top.Providers[0], top.Providers[1]

	leaves := func(source string, target, want netip.Addr) {
		t.Helper()
		s, err := lab.StartStream(lab.StreamConfig{
			From: top.Client, Kind: lab.UDP, To: targetOf(
				target), Rate: 50, Marker: top.Marker, Source: netip.MustParseAddr(source),
		})
		must(t, err)
		defer s.Stop()
		if !want.IsValid() {
			awaitSent(t, s, 25)
			if r := s.Stop(); r.Received > 0 {
				t.Errorf("%s to %s is answered: %v", source, target, r)
			}
			return
		}
		awaitAnswers(t, s, 5)
		onlySeenAs(t, source+" to "+target.String(), s, want)
	}
	explained(t, b, "10.77.0.2", "leaves by first (by rule 4)",
		"rule 4 applies: first, then second, then direct", "(first choice)", "DNS queries go to "+
			first.Resolver().String())
	leaves("10.77.0.2", lab.ClientTarget4, first.Public4[0])
	explained(t, b, "fd77::2", "leaves by first (by rule 4)")
	leaves("fd77::2", lab.ClientTarget6, first.Public6[0])
	explained(t, b, "10.77.0.3", "leaves by direct (by rule 2)",
		"to 192.0.2.77: rule 1: second is used: it is the first")
	leaves("10.77.0.3", lab.ClientTarget4, second.Public4[0])
	leaves("10.77.0.3", lab.HostTarget4, lab.BoxWAN4)
	explained(t, b, "10.77.0.4", "is blocked (by rule 3)", "rule 3 blocks")
	leaves("10.77.0.4", lab.ClientTarget4, netip.Addr{})
	for address, word := range map[string]string{"10.77.0.1": "own address on ing0",
		"192.0.2.9": "not in any network of this box"} {
		if out, err := b.run("status", "--of", address); err == nil ||
			!strings.Contains(err.Error()+out, word) {
			t.Errorf("status --of %s: %v, %s", address, err, out)
		}
	}
	if out := b.mustRun("plan"); strings.TrimSpace(out) != "" {
		t.Errorf("plan of a box that is as it should be: %s", out)
	}

	b.write("ztbridge.yaml", strings.Replace(everyKindConfig, "{from: [10.77.0.4], egress: block}",
		"{from: [10.77.0.4], egress: [direct]}", 1))
	if out := b.mustRun("plan", "--of", "10.77.0.4"); !strings.Contains(out,
		"10.77.0.4 leaves by direct (by rule 3)") {
		t.Errorf("plan --of does not speak of the file:\n%s", out)
	}
	explained(t, b, "10.77.0.4", "is blocked (by rule 3)")
	b.write("ztbridge.yaml", everyKindConfig)

	b.mustRun("egress", "use", "second")
	chosen := func(when string) {
		t.Helper()
		explained(t, b, "10.77.0.2", "leaves by second (by rule 4)",
			"(selected manually)")
		explained(t, b, "fd77::2", "is blocked (by rule 4)", "second carries no IPv6")
		if out := b.mustRun("egress",
			"list"); !regexp.MustCompile(`(?m)^second +openvpn +up +yes +yes$`).MatchString(out) {
			t.Errorf("%s, egress list:\n%s", when, out)
		}
		if out, _ := b.run("status"); !strings.Contains(out,
			"second was selected manually") {
			t.Errorf("%s, status does not show the choice:\n%s", when, out)
		}
		leaves("10.77.0.2", lab.ClientTarget4, second.Public4[0])
	}
	chosen("after the choice")
	b.stop()
	b.start()
	b.await("all egresses again", func(st api.Status) bool {
		return up(st) &&
			st.Policies[3].Egress == "second"
	})
	chosen("after a restart")

	second.Kill()
	b.await("another egress in place of the chosen one", func(st api.Status) bool {
		return st.Policies[3].Egress == "first" && st.Policies[0].Egress == ""
	})
	explained(t, b, "10.77.0.2", "leaves by first (by rule 4)", "(second is down)")
	explained(t, b, "10.77.0.3", "leaves by direct",
		"to 192.0.2.77: rule 1: blocked, as none of these is connected: second")
	leaves("10.77.0.3", lab.ClientTarget4, netip.Addr{})
	must(t, second.Start(t.Context()))
	b.await("the way back", func(st api.Status) bool { return st.Policies[3].Egress == "second" })
	b.mustRun("egress", "reset")
	explained(t, b, "10.77.0.2", "leaves by first (by rule 4)", "(first choice)")
	if st, err := b.status(); err != nil || st.Override != "" {
		t.Errorf("after the reset %q is chosen: %v", st.Override, err)
	}
}

// explained fails the test unless `ztbridge status --of` says all of this about an address.
func explained(t *testing.T, b *box, address string, want ...string) {
	t.Helper()
	out, err := b.run("status", "--of", address)
	for _, w := range want {
		if err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), w) {
			t.Errorf("status --of %s does not say %q: %v\n%s", address, w, err, out)
		}
	}
}
