package kernel

import (
	"context"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"

	"ztbridge/policyroute"
)

// transit is a host between two others, which it forwards for:
//
//	client 10.9.0.2 ── in0 │ host │ out0 ── server 10.8.0.2
type transit struct {
	box, client, server *thread
	k                   *Kernel
}

func newTransit(t *testing.T) *transit {
	t.Helper()
	needs(t, "nft", "ip", "ping")
	w := &transit{box: newThread(t), client: newThread(t), server: newThread(t)}
	for _, end := range []struct {
		th      *thread
		iface   string
		net, id string
	}{{w.client, "in0", "10.9.0", "fd09"}, {w.server, "out0", "10.8.0", "fd08"}} {
		// From outside, where both paths are those of files.
		sh(t, "nsenter --net="+w.box.path+" ip link add "+end.iface+
			" type veth peer name eth0 netns "+end.th.path)
		w.box.sh(t, "ip link set "+end.iface+" up; ip addr add "+end.net+".1/24 dev "+end.iface+
			"; ip addr add "+end.id+"::1/64 dev "+end.iface+" nodad")
		end.th.sh(t, "ip link set eth0 up; ip addr add "+end.net+".2/24 dev eth0; ip addr add "+
			end.id+"::2/64 dev eth0 nodad; ip route add default via "+end.net+
			".1; ip -6 route add default via "+end.id+"::1")
		end.th.sh(t, untilLinksRun)
	}
	w.box.sh(t, untilLinksRun+"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	w.box.do(func() {
		var err error
		if w.k, err = Open(Options{}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { _ = w.k.Close() })
	return w
}

func (w *transit) trace(t *testing.T, src, dst string) (b Block, found bool) {
	t.Helper()
	w.box.do(func() {
		var err error
		b, found, err = w.k.Trace(t.Context(), "in0", netip.MustParseAddr(src),
			func(ctx context.Context) error {
				_ = exec.CommandContext(ctx, "nsenter", "--net="+w.client.path, "ping", "-c1",
					"-W1", dst).Run() // that there is no answer is what is asked about
				return nil
			})
		if err != nil {
			t.Error(err)
		}
	})
	return b, found
}

// Trace names what drops a packet, or its answer, whatever program put it there, and the command
// that it tells lets packets through.
func TestTrace(t *testing.T) {
	w := newTransit(t)
	ends := map[string][2]string{"ipv4": {"10.9.0.2", "10.8.0.2"}, "ipv6": {"fd09::2", "fd08::2"}}
	for name, e := range ends {
		if b, found := w.trace(t, e[0], e[1]); found {
			t.Errorf("%s: nothing drops, and yet: %s", name, b)
		}
	}
	tests := []struct {
		name, make, undo string
		says             string
	}{
		{"policy", `nft 'table inet filter { chain forward {
			type filter hook forward priority 0; policy drop; }; }'`, "nft delete table inet filter",
			"the policy of chain forward in table inet filter (nft)"},
		{"rule", `nft 'table inet filter { chain forward {
			type filter hook forward priority 0; iifname "in0" counter drop; }; }'`,
			"nft delete table inet filter", `rule "iifname \"in0\" counter packets`},
		{"reject", `nft 'table inet filter { chain f { type filter hook forward priority 0;
			oifname "out0" reject with icmpx admin-prohibited; }; }'`,
			"nft delete table inet filter", `reject with icmpx admin-prohibited" in chain f`},
		{"a chain further on", `nft 'table inet t { chain last { drop; };
			chain f { type filter hook forward priority 0; jump last; }; }'`,
			"nft delete table inet t", `rule "drop" in chain last of table inet t`},
		{"prerouting", `nft 'table inet t { chain p { type filter hook prerouting priority -300;
			iifname "in0" drop; }; }'`, "nft delete table inet t", "chain p of table inet t"},
		{"answers", `nft 'table inet t { chain f { type filter hook forward priority 0;
			iifname "out0" drop; }; }'`, "nft delete table inet t", `iifname \"out0\" drop`},
		{"answers before routing", `nft 'table inet t { chain p {
			type filter hook prerouting priority 10; icmp type echo-reply drop; icmpv6 type echo-reply drop; }; }'`,
			"nft delete table inet t", `echo-reply drop" in chain p of table inet t`},
	}
	for _, tt := range tests {
		for name, e := range ends {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				w.box.sh(t, tt.make)
				defer w.box.sh(t, tt.undo)
				b, found := w.trace(t, e[0], e[1])
				if !found || !strings.Contains(b.String(), tt.says) {
					t.Fatalf("found %v: %s, want %s", found, b, tt.says)
				}
				w.box.sh(t, b.Allow([]string{"in0"}, nil))
				if b, found := w.trace(t, e[0], e[1]); found && !strings.HasPrefix(tt.name, "answers") {
					t.Errorf("after the remedy: %s", b)
				}
			})
		}
	}
	if left := w.box.sh(t, "nft list tables"); strings.Contains(left, traceTable) {
		t.Errorf("left behind: %s", left)
	}
}

func TestTraceLegacy(t *testing.T) {
	needs(t, "iptables-legacy", "iptables-legacy-save")
	w := newTransit(t)
	if exec.Command("nsenter", "--net="+w.box.path, "iptables-legacy", "-P", "FORWARD",
		"DROP").Run() != nil {
		t.Skip("SKIPPED: this kernel has no legacy iptables")
	}
	b, found := w.trace(t, "10.9.0.2", "10.8.0.2")
	if !found || b.Program != "iptables-legacy" || b.Chain != "FORWARD" || b.Rule != "" {
		t.Fatalf("found %v: %+v", found, b)
	}
	w.box.sh(t, b.Allow([]string{"in0"}, nil))
	if b, found := w.trace(t, "10.9.0.2", "10.8.0.2"); found {
		t.Errorf("after the remedy: %s", b)
	}
}

func TestDiversions(t *testing.T) {
	w := newTransit(t)
	sources := []Source{{"in0", []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24"),
		netip.MustParsePrefix("fd09::/64")}}, {"absent0", nil}}
	look := func(dst string) (out []Diversion) {
		w.box.do(func() {
			var err error
			if out, err = w.k.Diversions(sources, "out0",
				[]netip.Addr{netip.MustParseAddr(dst)}); err != nil {
				t.Error(err)
			}
		})
		return out
	}
	for _, tt := range []struct{ make, dst, rule string }{
		{"ip rule add pref 100 from 10.9.0.0/24 lookup 200", "10.8.0.2", ""}, // an empty table
		{"ip rule add pref 108 fwmark 0x80000/0xff0000 lookup main", "10.8.0.2", ""},
		{"ip rule add pref 109 to 10.9.0.0/24 lookup main", "10.8.0.2", ""}, // replies go there
		{"ip route add default via 10.8.0.2 table 200", "10.8.0.2",
			"100: from 10.9.0.0/24 lookup 200"},
		{"ip rule add pref 101 from 10.9.0.7 blackhole; ip route flush table 200", "10.8.0.2",
			"101: from 10.9.0.7/32 blackhole"},
		{"ip -6 rule add pref 99 iif in0 prohibit", "fd08::2", "99: from all iif in0 prohibit"},
		{"ip -6 rule add pref 98 iif other lookup 201; ip -6 route add default via fd08::2 table 201",
			"fd08::2", "99: from all iif in0 prohibit"},
		{"ip rule add pref 97 fwmark 1 prohibit; ip rule del pref 101", "10.8.0.2", ""},
		{"ip rule add pref 96 ipproto tcp dport 443 prohibit", "10.8.0.2",
			"96: from all ipproto tcp dport 443 prohibit"},
		{"ip rule del pref 96; ip rule add pref 95 to 10.9.0.0/24 unreachable", "10.8.0.2",
			"95: from all to 10.9.0.0/24 unreachable"},
		{"ip rule del pref 95; ip rule add pref 94 to 10.8.0.0/16 iif in0 blackhole", "10.8.0.2",
			"94: from all to 10.8.0.0/16 iif in0 blackhole"},
		{"ip rule del pref 94; ip rule add pref 93 iif in0 goto 32766", "10.8.0.2",
			"93: from all iif in0 goto 32766"},
		{"ip rule del pref 93; ip route add prohibit 10.9.0.2", "10.8.0.2",
			"route prohibit 10.9.0.2/32"},
		{"ip route del prohibit 10.9.0.2; ip route add 10.9.0.4/30 via 10.8.0.2", "10.8.0.2",
			"route 10.9.0.4/30 via 10.8.0.2 dev out0"},
		{"ip route del 10.9.0.4/30; ip route add 10.9.0.4/30 via 10.9.0.7", "10.8.0.2", ""},
		{"ip route del 10.9.0.4/30; nft 'table ip m { chain p { type filter hook " +
			"prerouting priority mangle; iifname \"in0\" meta mark set 1; }; }'", "10.8.0.2",
			"97: from all fwmark 0x1 prohibit"},
		{"nft delete table ip m; ip xfrm policy add src 10.9.0.0/24 dir fwd action block",
			"10.8.0.2", "xfrm policy src 10.9.0.0/24 dst 0.0.0.0/0 dir fwd"},
		{"ip xfrm policy flush; ip xfrm policy add dst 10.9.0.7 dir out action block; " +
			"ip xfrm policy add src 10.5.0.0/16 dir fwd action block", "10.8.0.2",
			"xfrm policy src 0.0.0.0/0 dst 10.9.0.7/32 dir out"},
	} {
		w.box.sh(t, tt.make)
		found := look(tt.dst)
		switch {
		case tt.rule == "" && len(found) > 0:
			t.Errorf("%s: %+v", tt.make, found)
		case tt.rule != "" && (len(found) != 1 || found[0].Rule != tt.rule):
			t.Errorf("%s: %+v, want %s", tt.make, found, tt.rule)
		}
	}
	for _, dst := range []string{"fd08::2", "10.8.0.2"} {
		for _, d := range look(dst) {
			w.box.sh(t, d.Remove)
		}
		if found := look(dst); len(found) > 0 {
			t.Errorf("after the remedy: %+v", found)
		}
	}
}

func TestParseLegacy(t *testing.T) {
	const saved = "# made by\n*filter\n:FORWARD DROP [3:252]\n:DOCKER - [0:0]\n" +
		"[7:99] -A FORWARD -i eth0 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n"
	before := parseLegacy(saved)
	after := parseLegacy(strings.Replace(saved, "[7:99]", "[8:99]", 1))
	b, ok := legacyBlock(before, after, 4)
	if !ok || !strings.HasPrefix(b.Rule, "-A FORWARD -i eth0 -j REJECT") {
		t.Errorf("found %v: %+v", ok, b)
	}
	if b, ok := legacyBlock(before, before, 4); ok {
		t.Errorf("nothing was counted, and yet: %s", b)
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 8, 0, 4, 0, 0, 0, 0, 3})
	f.Fuzz(func(_ *testing.T, b []byte) {
		parseTrace(netlink.Message{Header: netlink.Header{Type: 10<<8 | nftMsgTrace}, Data: b})
	})
}

func FuzzParseLegacy(f *testing.F) {
	f.Add(":FORWARD DROP [3:252]\n[0:0] -A FORWARD -j ACCEPT\n")
	f.Fuzz(func(_ *testing.T, s string) {
		p := packetsOf(Source{Iface: "in0"}, policyroute.V4, netip.MustParseAddr("10.9.0.2"),
			"tun0")
		legacyTables{policyroute.V4: parseLegacy("*filter\n" + s)}.follow(p[0])
	})
}

func FuzzParseHookDevices(f *testing.F) {
	f.Add([]byte{5, 0, 0, 0, 8, 0, 3, 0, 'c', 0, 0, 0, 12, 0, 4, 128, 8, 0, 3, 0, 'i', 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) { parseHookDevices(b) })
}
