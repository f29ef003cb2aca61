package kernel

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// everyRule uses each match and each verdict there is.
func everyRule() policyroute.Ruleset {
	type rule = policyroute.NftRule
	type do = policyroute.NftVerdict
	accept, drop := do{Kind: "accept"}, do{Kind: "drop"}
	return policyroute.Ruleset{
		Maps: []policyroute.VerdictMap{
			{Name: "who4", Family: policyroute.V4, Elements: []policyroute.VerdictElement{
				{First: addr("0.0.0.0"), Last: addr("0.255.255.255"), Chain: "one"},
				{First: addr("10.0.0.1"), Last: addr("10.0.0.1"), Chain: "one"},
				{First: addr("10.0.0.2"), Last: addr("10.0.0.7"), Chain: "two"},
				{First: addr("10.1.0.0"), Last: addr("10.1.255.255"), Chain: "one"},
				{First: addr("255.255.255.0"), Last: addr("255.255.255.255"), Chain: "two"},
			}},
			{Name: "who6", Family: policyroute.V6, Elements: []policyroute.VerdictElement{
				{First: addr("fd00::1"), Last: addr("fd00::1"), Chain: "one"},
			}},
		},
		Chains: []policyroute.NftChain{
			{Name: "forward", Hook: &policyroute.Hook{Type: "filter", Hook: "forward",
				Priority: -5}, Rules: []rule{
				{IIF: "ztabcdefghijkl", OIF: "zt*", Verdict: drop, Comment: "only by the tunnel"},
				{OIF: "tunztb0", CTState: []string{"established", "related"}, Verdict: accept},
				{OIF: "tunztb0", CTState: []string{"new"}, CTStatus: "dnat", CTReply: true,
					Verdict: accept},
				{CTState: []string{"related"}, CTStatus: "snat", Verdict: drop},
				{Family: policyroute.V6, Verdict: drop},
				{Src: prefix("10.0.0.0/8"), Dst: prefix("192.168.4.0/22"), Verdict: accept},
				{Src: prefix("fd00::/9"), Dst: prefix("fd00::7/128"), Verdict: do{Kind: "return"}},
				{Dst: prefix("10.2.3.4/32"), Proto: "tcp", DstPorts: []uint16{22}, Verdict: accept},
				{Proto: "udp", DstPorts: []uint16{53, 853, 5353}, Verdict: accept},
				{IIF: "zt1", NotSrcMAC: "02:89:e9:2c:ee:e5", Verdict: drop},
				{Src: prefix("10.2.3.4/32"), NotSrcMAC: "02:00:00:00:00:01", Proto: "udp",
					DstPorts: []uint16{53}, Verdict: drop},
				{Proto: "icmp", Verdict: accept},
				{Proto: "icmpv6", Verdict: accept},
				{OIF: "zt1", Family: policyroute.V6, Proto: "icmpv6", ICMPType: 137, Verdict: drop},
				{Family: policyroute.V4, Proto: "icmp", ICMPType: 5, Verdict: accept},
				{Syn: true, Verdict: do{Kind: "jump", Chain: "one"}},
				{Proto: "tcp", DstPorts: []uint16{443}, Syn: true, Verdict: accept},
				{OIF: "tunztb0", SynMSS: 1354},
				{IIF: "tunztb0", Proto: "tcp", SynMSS: 1280},
				{LocalDst: true, Verdict: accept},
				{IIF: "zt1", Family: policyroute.V4, VMap: "who4"},
				{IIF: "zt1", Family: policyroute.V6, VMap: "who6"},
				{Family: policyroute.V4, DstVMap: "who4"},
			}},
			{Name: "one", Rules: []rule{{OIF: "tunztb0", Verdict: accept},
				{Verdict: do{Kind: "goto", Chain: "two"}}}},
			{Name: "two", Rules: []rule{{Family: policyroute.V4, Verdict: drop}}},
			{Name: "empty"},
			{Name: "dns", Hook: &policyroute.Hook{Type: "nat", Hook: "prerouting", Priority: -105},
				Rules: []rule{
					{IIF: "zt1", Family: policyroute.V4, Proto: "udp", DstPorts: []uint16{53},
						Verdict: do{Kind: "dnat", Addr: addr("10.8.0.1")}},
					{IIF: "zt1", Family: policyroute.V6, Proto: "tcp", DstPorts: []uint16{53},
						Verdict: do{Kind: "dnat", Addr: addr("fd00::53")}},
					{Proto: "udp", DstPorts: []uint16{53},
						Verdict: do{Kind: "redirect", Port: 5300}},
				}},
			{Name: "nat", Hook: &policyroute.Hook{Type: "nat", Hook: "postrouting", Priority: 95},
				Rules: []rule{
					{OIF: "tunztb0", Src: prefix("10.0.0.0/8"),
						Verdict: do{Kind: "snat", Addr: addr("192.0.2.7")}},
					{OIF: "tunztb0", Family: policyroute.V6,
						Verdict: do{Kind: "snat", Addr: addr("2001:db8::7")}},
					{OIF: "tunztb0", Verdict: do{Kind: "masquerade"}},
				}},
		},
	}
}

func TestNftIsReadBackAsWritten(t *testing.T) {
	inNamespace(t, func() {
		n, want := newNft(), everyRule()
		for range 2 { // the second time there is a table to replace
			if err := n.replace(want); err != nil {
				t.Error(err)
				return
			}
		}
		compareNft(t, n, want)
		if err := n.replace(policyroute.Ruleset{}); err != nil {
			t.Error(err)
		}
		compareNft(t, n, policyroute.Ruleset{})
		if left := sh(t, "nft list ruleset"); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// The text of a plan is what people paste: it must make the very table that the library makes.
func TestNftTextMakesTheSameTable(t *testing.T) {
	needs(t, "nft")
	file := filepath.Join(t.TempDir(), "ruleset.nft")
	if err := os.WriteFile(file, []byte(everyRule().String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var byLibrary, byText string
	inNamespace(t, func() {
		if err := newNft().replace(everyRule()); err != nil {
			t.Error(err)
		}
		byLibrary = sh(t, "nft -s list ruleset")
	})
	inNamespace(t, func() {
		sh(t, "nft -f "+file)
		byText = sh(t, "nft -s list ruleset")
		compareNft(t, newNft(), everyRule())
	})
	if diff := cmp.Diff(byText, byLibrary); diff != "" {
		t.Errorf("nft lists different tables (-text +library):\n%s", diff)
	}
}

// So it is with the text of a change in part.
func TestNftChangeAsTextMakesTheSameTable(t *testing.T) {
	needs(t, "nft")
	before, after := policytest.Many(120, 2), policytest.Many(120, 2)
	after.Policies[9].From = append(after.Policies[9].From,
		policytest.Prefixes("10.144.0.0", "10.150.7.0/28", "10.159.255.255")...)
	from, err := policyroute.Compile(before)
	if err != nil {
		t.Fatal(err)
	}
	to, err := policyroute.Compile(after)
	if err != nil {
		t.Fatal(err)
	}
	change, ok := policyroute.Diff(from, to).Ops[0].(policyroute.ChangeNftMaps)
	if !ok {
		t.Fatal("not a change in part")
	}
	for name, do := range map[string]func(){
		"library": func() {
			if err := newNft().change(change); err != nil {
				t.Error(err)
			}
		},
		"text": func() { sh(t, change.String()) },
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t, func() {
				if err := newNft().replace(from.Nft); err != nil {
					t.Error(err)
				}
				do()
				compareNft(t, newNft(), to.Nft)
			})
		})
	}
}

func TestNftForeignChangesShow(t *testing.T) {
	needs(t, "nft")
	tests := []struct{ name, command string }{
		{"rule added", "nft add rule inet ztb forward accept"},
		{"rule inserted", `nft insert rule inet ztb one oifname "eth0" accept`},
		{"rule of a kind we do not make", "nft add rule inet ztb two ip ttl 1 accept"},
		{"rule deleted", "nft flush chain inet ztb one"},
		{"element deleted", "nft delete element inet ztb who4 { 10.0.0.1 }"},
		{"element added", "nft add element inet ztb who6 { fd00::2 : goto two }"},
		{"chain added", "nft add chain inet ztb mine"},
		{"map added", "nft add set inet ztb mine '{ type ipv4_addr; }'"},
		{"policy changed", "nft add chain inet ztb forward '{ policy drop; }'"},
		{"table deleted", "nft delete table inet ztb"},
		{"everything flushed", "nft flush ruleset"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inNamespace(t, func() {
				n := newNft()
				if err := n.replace(everyRule()); err != nil {
					t.Error(err)
				}
				sh(t, tt.command)
				have, err := n.observe()
				if err != nil {
					t.Error(err)
				}
				if have.String() == everyRule().String() {
					t.Error("the change does not show")
				}
			})
		})
	}
}

// A transaction of this size does not fit the default buffers of a socket.
func TestNftLargeTable(t *testing.T) {
	want := policyroute.Ruleset{
		Maps: []policyroute.VerdictMap{{Name: "who6", Family: policyroute.V6}},
		Chains: []policyroute.NftChain{
			{Name: "one", Rules: []policyroute.NftRule{
				{Verdict: policyroute.NftVerdict{Kind: "accept"}}}},
		},
	}
	a := addr("fd00::")
	for range 10_000 {
		a = a.Next().Next()
		want.Maps[0].Elements = append(want.Maps[0].Elements,
			policyroute.VerdictElement{First: a, Last: a, Chain: "one"})
	}
	for i := range 1000 {
		want.Chains[0].Rules = append(want.Chains[0].Rules, policyroute.NftRule{
			Proto: "udp", DstPorts: []uint16{uint16(i + 1)}, Verdict: policyroute.NftVerdict{
				Kind: "drop"}, Comment: "one of a thousand rules",
		})
	}
	inNamespace(t, func() {
		n := newNft()
		for range 2 {
			if err := n.replace(want); err != nil {
				t.Error(err)
				return
			}
		}
		compareNft(t, n, want)
	})
}

func compareNft(t *testing.T, n nft, want policyroute.Ruleset) {
	t.Helper()
	have, err := n.observe()
	if err != nil {
		t.Error(err)
		return
	}
	if diff := cmp.Diff(want.String(), have.String()); diff != "" {
		t.Errorf("observed table (-want +have):\n%s", diff)
	}
}
