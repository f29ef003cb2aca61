package kernel

import (
	"fmt"
	"net/netip"
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
	const dropped = drop
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
		{"a packet's length", []expr.Any{&expr.Meta{Key: expr.MetaKeyLEN, Register: 1}, is("x"),
			drop}, true, false},
		{"a match of iptables", []expr.Any{&expr.Match{Name: "limit"}, drop}, true, false},
	} {
		p := &packet{iif: "in0", oif: "tun0", family: 4, src: netip.MustParseAddr("10.9.0.7")}
		s := evaluation{p: p}.rule(&nftables.Rule{Exprs: tt.exprs})
		if s.known != tt.known || s.known && s.matches != tt.matches ||
			s.matches && s.do != dropped {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}

// told returns what is said of a block: of which device or IP version, and what blocks.
func told(b IfaceBlock) string {
	if b.Device.IsValid() {
		return b.Device.String() + " " + b.String()
	}
	return fmt.Sprint(b.Family, " ", b.String())
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
			`; ip saddr 10.0.0.0/8 accept; iifname "in0" drop; }`, "6 rule"},
		{"one IP version", `chain f { ` + hook + `; iifname "in0" meta nfproto ipv4 drop; }`,
			"4 rule"},
		{"one IP version accepted", `chain f { ` + hook +
			`; policy drop; meta nfproto ipv6 accept; }`, "4 the policy"},
		{"where they come from", `chain f { ` + hook + `; ip saddr 10.9.0.0/16 drop; }`, "4 rule"},
		{"ranges", `chain f { ` + hook + `; ip6 saddr { fd08::/64, fd09::/64 } drop; }`, "6 rule"},
		{"other ranges", `chain f { ` + hook + `; ip saddr { 10.8.0.0/24, 10.10.0.0/16 } drop; }`,
			""},
		{"one device", `chain f { ` + hook + `; ip saddr 10.9.0.7 drop; }`, "10.9.0.7 rule"},
		{"where answers go", `chain f { ` + hook + `; ip daddr 10.9.0.0/24 drop; }`, "4 rule"},
		{"before connections are tracked", `chain f { type filter hook prerouting priority raw;
			iifname "in0" drop; }`, "chain f"},
		{"what leaves", `chain f { type filter hook postrouting priority 0; oifname "tun0" drop; }`,
			"chain f"},
		{"a mark that is set before", `chain p { type filter hook prerouting priority mangle;
			iifname "in0" meta mark set 7; }; chain f { ` + hook + `; meta mark 7 drop; }`,
			"meta mark"},
		{"another mark", `chain p { type filter hook prerouting priority mangle;
			iifname "in0" meta mark set 7; }; chain f { ` + hook + `; meta mark 8 drop; }`, ""},
		{"a mark of some", `chain p { type filter hook prerouting priority mangle;
			tcp dport 25 meta mark set 7; }; chain f { ` + hook + `; meta mark 7 drop; }`, ""},
		{"the length of packets", `chain f { ` + hook + `; iifname "in0" meta length > 1000 drop; }`,
			""},
		{"a limit", `chain f { ` + hook + `; iifname "in0" limit rate 5/second accept;
			iifname "in0" drop; }`, `iifname \"in0\" drop`},
		{"a limit on answers", `chain f { ` + hook + `; oifname "in0" limit rate over 600/minute drop; }`,
			"limit rate over"},
		{"a limit in bytes", `chain f { ` + hook + `; iifname "in0" limit rate over 9 kbytes/second drop; }`,
			"limit rate over"},
		{"a limit that one can live with", `chain f { ` + hook +
			`; iifname "in0" limit rate over 1000/second drop; }`, ""},
		{"a limit in bytes that one can live with", `chain f { ` + hook +
			`; iifname "in0" limit rate over 2 mbytes/second drop; }`, ""},
		{"a limit on new connections", `chain f { ` + hook +
			`; policy drop; ct state established,related accept; iifname "in0" limit rate 5/second accept; }`, ""},
		{"a limit on a port", `chain f { ` + hook + `; iifname "in0" tcp dport 22 limit rate over 3/minute drop; }`, ""},
		{"a limit on what is logged", `chain f { ` + hook + `; limit rate 3/minute log; }`, ""},
		{"no connections", `chain f { type filter hook prerouting priority raw;
			iifname "in0" notrack; }`, "notrack"},
		{"no connections of one port", `chain f { type filter hook prerouting priority raw;
			iifname "in0" udp dport 53 notrack; }`, ""},
		{"a source of its own", `chain f { type nat hook postrouting priority 90;
			ip saddr 10.9.0.0/24 snat ip to 192.0.2.2; }`, "4 rule"},
		{"a source of its own, too late", `chain f { type nat hook postrouting priority srcnat;
			oifname "tun0" snat ip to 192.0.2.2; }`, ""},
		{"not forwarded", `chain f { type filter hook input priority 0; iifname "in0" drop; }`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			th.sh(t, "nft 'table inet foreign { "+tt.rules+"; }'")
			defer th.sh(t, "nft delete table inet foreign")
			th.do(func() {
				found, err := k.IfaceBlocks(t.Context(), []Source{{"in0", []netip.Prefix{
					netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("fd09::/64")}}},
					"tun0")
				if err != nil {
					t.Error(err)
				}
				if tt.says == "" && len(found) > 0 || tt.says != "" && (len(found) != 1 ||
					!strings.Contains(told(found[0]), tt.says)) {
					t.Errorf("found %v, want %q", found, tt.says)
				}
			})
		})
	}
}

// A filter that belongs to an interface precedes all that a trace sees.
func TestIfaceBlocksOfDevices(t *testing.T) {
	w := newTransit(t)
	sources := []Source{{"in0", []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24"),
		netip.MustParsePrefix("fd09::/64")}}}
	for _, tt := range []struct{ table, device string }{
		{`netdev foreign { chain c { type filter hook ingress device in0 priority 0; drop; }; }`,
			"in0"},
		{`netdev foreign { chain c { type filter hook ingress devices = { out0, lo } priority 0;
			ip protocol icmp drop; drop; }; }`, "out0"},
		{`inet foreign { chain c { type filter hook ingress device "in0" priority 0;
			policy drop; }; }`, "in0"},
	} {
		w.box.sh(t, "nft 'table "+tt.table+"'")
		w.box.do(func() {
			found, err := w.k.IfaceBlocks(t.Context(), sources, "out0")
			if err != nil || len(found) != 1 || found[0].Block.Device != tt.device {
				t.Fatalf("%s: %+v, %v", tt.table, found, err)
			}
			w.box.sh(t, found[0].Allow([]string{"in0"}, []string{"out0"}))
			if found, err = w.k.IfaceBlocks(t.Context(), sources, "out0"); err != nil ||
				len(found) > 0 {
				t.Errorf("after the remedy: %+v, %v", found, err)
			}
		})
		w.box.sh(t, "nft flush ruleset")
	}
}

// Rules of iptables are judged as those of nft are, in both of its variants.
func TestIfaceBlocksOfIPTables(t *testing.T) {
	w := newTransit(t)
	sources := []Source{{"in0", []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}}}
	for _, program := range []string{"iptables-nft", "iptables-legacy"} {
		needs(t, program)
		for _, tt := range []struct{ rules, says string }{
			{"-A FORWARD -i in0 -j DROP", "-i in0"},
			{"-A FORWARD -s 10.9.0.0/16 -j REJECT --reject-with icmp-host-prohibited", "10.9.0.0"},
			{"-A FORWARD ! -i out0 -m comment --comment \"two words\" -j DROP", "out0"},
			{"-t raw -A PREROUTING -i in+ -j DROP", "in"},
			{"-t mangle -A FORWARD -o in0 -j DROP", "in0"},
			{"-t raw -A PREROUTING -i in0 -j CT --notrack", "in0"},
			{"-t raw -A PREROUTING -i in0 -j CT --helper ftp", ""},
			{"-A FORWARD -i in0 -m conntrack --ctstate INVALID -j DROP", ""},
			{"-A FORWARD -i in0 -p tcp --dport 25 -j DROP", ""},
			{"-A FORWARD -s 10.8.0.0/16 -j DROP", ""},
			{"-P FORWARD DROP", "the policy of chain FORWARD"},
		} {
			out := w.box.sh(t, program+" "+tt.rules+" 2>&1 || echo FAILED")
			if strings.Contains(out, "FAILED") {
				t.Logf("SKIPPED: %s %s: %s", program, tt.rules, out)
				continue
			}
			w.box.do(func() {
				found, err := w.k.IfaceBlocks(t.Context(), sources, "out0")
				if err != nil || tt.says == "" && len(found) > 0 || tt.says != "" &&
					(len(found) != 1 || !strings.HasPrefix(found[0].Program, program[:8])) {
					t.Errorf("%s %s: found %+v, %v", program, tt.rules, found, err)
					return
				}
				if tt.says == "" {
					return
				}
				// nft prints the rules of the other variant in its own words.
				if text := found[0].String(); program == "iptables-legacy" &&
					!strings.Contains(text, tt.says) {
					t.Errorf("%s %s: %s", program, tt.rules, text)
				}
				w.box.sh(t, found[0].Allow([]string{"in0"}, []string{"out0"}))
				if found, err = w.k.IfaceBlocks(t.Context(), sources, "out0"); err != nil ||
					len(found) > 0 {
					t.Errorf("%s %s: after the remedy: %+v, %v", program, tt.rules, found, err)
				}
			})
			w.box.sh(t, program+" -P FORWARD ACCEPT; for t in filter mangle raw; do "+program+
				" -t $t -F; done")
		}
	}
}
