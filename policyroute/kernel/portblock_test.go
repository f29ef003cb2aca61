package kernel

import (
	"strings"
	"testing"

	"ztbridge/policyroute"
)

// PortBlocks finds what keeps everybody from a port, and claims nothing that only a packet can
// tell.
func TestPortBlocks(t *testing.T) {
	needs(t, "nft", "iptables")
	th := newThread(t)
	var k *Kernel
	th.do(func() { k = open(t, "") })
	const nft, input = "nft 'table inet foreign { chain c { ", "type filter hook input priority 0; "
	const end = "; }; }'"
	const clean = "nft delete table inet foreign 2>/dev/null || true; iptables-nft -F INPUT; " +
		"iptables-legacy -F INPUT"
	for _, tt := range []struct{ name, command, says string }{
		{"a policy", nft + input + "policy drop; tcp dport 22 accept" + end, "policy of chain c"},
		{"a policy, and the port",
			nft + input + "policy drop; udp dport { 53, 1194 } accept" + end, ""},
		{"a policy, and ports around it",
			nft + input + "policy drop; udp dport 1000-2000 accept" + end, ""},
		{"a policy, and another uplink",
			nft + input + `policy drop; iifname "lan0" accept` + end, "policy of chain c"},
		{"a policy, and someone", nft + input + "policy drop; ip saddr 10.0.0.0/8 accept; " +
			"ip6 saddr fd00::/8 accept" + end, "policy of chain c"},
		{"a policy, and what cannot be known",
			nft + input + "policy drop; meta length 1000 accept" + end, ""},
		{"TCP alone", nft + input + "meta l4proto tcp drop" + end, ""},
		{"a reject of UDP", nft + input + "meta l4proto udp reject" + end, "meta l4proto udp"},
		{"a filter before routing", nft + "type filter hook prerouting priority -150; " +
			"fib daddr type local udp dport 1194 drop" + end, "udp dport 1194 drop"},
		{"a filter of what is forwarded",
			nft + "type filter hook forward priority 0; drop" + end, ""},
		{"a port that leads elsewhere", nft + "type nat hook prerouting priority dstnat; " +
			"udp dport 1194 redirect to :9" + end, "redirect to :9"},
		{"another port that leads elsewhere", nft + "type nat hook prerouting priority dstnat; " +
			"udp dport 1195 redirect to :9" + end, ""},
		{"iptables", "iptables-nft -A INPUT -p udp -m udp --dport 1194 -j DROP", "iptables-nft"},
		{"iptables, another port", "iptables-nft -A INPUT -p udp -m udp --dport 53 -j DROP", ""},
		{"iptables, local addresses", "iptables-nft -A INPUT -m addrtype ! --dst-type LOCAL -j " +
			"ACCEPT; iptables-nft -A INPUT -m addrtype --dst-type LOCAL -j DROP", "iptables-nft"},
		{"legacy iptables", "iptables-legacy -A INPUT -i up0 -p udp -m udp --dport 1194 -j REJECT",
			"iptables-legacy"},
		{"legacy iptables, another port",
			"iptables-legacy -A INPUT -i up0 -p udp -m udp --dport 53 -j REJECT", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			th.sh(t, tt.command)
			defer th.sh(t, clean)
			th.do(func() {
				found, err := k.PortBlocks(t.Context(), map[policyroute.Family]string{
					policyroute.V4: "up0", policyroute.V6: "up0"}, []Port{{"udp", 1194}})
				if err != nil {
					t.Error(err)
				}
				if tt.says == "" && len(found) > 0 || tt.says != "" && (len(found) != 1 ||
					!strings.Contains(found[0].String(), tt.says)) {
					t.Errorf("found %v, want %q", found, tt.says)
				}
				for _, b := range found { // until what it names is let through
					th.sh(t, b.AllowPort(b.Port))
					if now, err := k.PortBlocks(t.Context(), map[policyroute.Family]string{
						policyroute.V4: "up0", policyroute.V6: "up0"},
						[]Port{{"udp", 1194}}); err != nil || len(now) > 0 {
						t.Errorf("after %s: %v, %v", b.AllowPort(b.Port), now, err)
					}
				}
			})
		})
	}
}
