package kernel

import (
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What is known of a packet, the interfaces and the state of its connection, decides; nothing else
// is guessed.
func TestRuleOutcome(t *testing.T) {
	name := func(s string) []byte { b := make([]byte, unix.IFNAMSIZ); copy(b, s); return b }
	iif := &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}
	oif := &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}
	is := func(s string) expr.Any {
		return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name(s)}
	}
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	for _, tt := range []struct {
		name           string
		exprs          []expr.Any
		matches, known bool
	}{
		{"every packet", []expr.Any{drop}, true, true},
		{"its interface", []expr.Any{iif, is("in0"), drop}, true, true},
		{"another", []expr.Any{iif, is("in1"), drop}, false, true},
		{"where it leaves", []expr.Any{oif, is("tun0"), drop}, true, true},
		{"where it does not", []expr.Any{oif, is("in0"), drop}, false, true},
		{"a beginning", []expr.Any{iif, &expr.Cmp{Op: expr.CmpOpEq, Register: 1,
			Data: []byte("in")}, drop}, true, true},
		{"not its interface", []expr.Any{iif, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1,
			Data: name("in0")}, drop}, false, true},
		{"a mark", []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, is("x"), drop},
			true, false},
		{"a match of iptables", []expr.Any{&expr.Match{Name: "limit"}, drop}, true, false},
	} {
		r := &ruleset{iif: "in0", oif: "tun0"}
		matches, end, known := r.rule(&nftables.Rule{Exprs: tt.exprs})
		if known != tt.known || known && matches != tt.matches || matches && end != drop {
			t.Errorf("%s: matches %v, known %v, %v", tt.name, matches, known, end)
		}
	}
}

// IfaceBlocks finds the filters that no packet but one by that interface meets, and claims nothing
// that only a packet can tell.
func TestIfaceBlocks(t *testing.T) {
	needs(t, "nft")
	th := newThread(t)
	var k *Kernel
	th.do(func() { k = open(t, "") })
	const hook = "type filter hook forward priority 0"
	for _, tt := range []struct{ name, rules, says string }{
		{"the interface", `chain f { ` + hook + `; iifname "in0" drop; }`, `iifname \"in0\" drop`},
		{"answers", `chain f { ` + hook + `; oifname "in0" drop; }`, `oifname \"in0\" drop`},
		{"a set", `chain f { ` + hook + `; iifname { "in0", "in1" } counter reject; }`, "reject"},
		{"all but others", `chain f { ` + hook + `; iifname != "eth0" drop; }`, "eth0"},
		{"a wildcard", `chain f { ` + hook + `; iifname "in*" drop; }`, "in*"},
		{"a chain", `chain x { drop; } ; chain f { ` + hook + `; iifname "in0" jump x; }`, "chain x"},
		{"the policy", `chain f { ` + hook + `; policy drop; iifname "tunztb.check" accept; }`,
			"the policy of chain f"},
		{"only others accepted", `chain f { ` + hook + `; policy drop; iifname "tun*" accept;
			oifname "eth0" accept; }`, "the policy of chain f"},
		{"new connections", `chain f { ` + hook +
			`; iifname "in0" ct state new drop; }`, "ct state new drop"},
		{"none", `chain f { ` + hook + `; }`, ""},
		{"another interface", `chain f { ` + hook + `; iifname "in1" drop; }`, ""},
		{"accepted before", `chain f { ` + hook + `; policy drop; iifname "in0" accept;
			oifname "in0" ct state established,related accept; }`, ""},
		{"a port", `chain f { ` + hook + `; iifname "in0" tcp dport 25 drop; }`, ""},
		{"invalid ones", `chain f { ` + hook + `; iifname "in0" ct state invalid drop; }`, ""},
		{"some accepted before", `chain f { ` + hook +
			`; ip saddr 10.0.0.0/8 accept; iifname "in0" drop; }`, ""},
		{"one IP version", `chain f { ` + hook + `; iifname "in0" meta nfproto ipv4 drop; }`, ""},
		{"one IP version accepted", `chain f { ` + hook +
			`; policy drop; meta nfproto ipv6 accept; }`, ""},
		{"not forwarded", `chain f { type filter hook input priority 0; iifname "in0" drop; }`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			th.sh(t, "nft 'table inet foreign { "+tt.rules+"; }'")
			defer th.sh(t, "nft delete table inet foreign")
			th.do(func() {
				found, err := k.IfaceBlocks(t.Context(), []string{"in0"}, "tun0")
				if err != nil {
					t.Error(err)
				}
				if tt.says == "" && len(found) > 0 || tt.says != "" && (len(found) != 1 ||
					!strings.Contains(found[0].String(), tt.says)) {
					t.Errorf("found %v, want %q", found, tt.says)
				}
			})
		})
	}
}
