package kernel

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables/expr"

	"ztbridge/policyroute"
)

// bytesOf deals a fuzzer's bytes out as choices; when they run out, every choice is the first.
type bytesOf []byte

func (b *bytesOf) pick(n int) int {
	if len(*b) == 0 {
		return 0
	}
	v := int((*b)[0]) % n
	*b = (*b)[1:]
	return v
}

// rule makes a rule that Compile could make.
func (b *bytesOf) rule() policyroute.NftRule {
	names := []string{"", "zt*", "ztabcdefghijkl", "tunztb0"}
	prefixes := [][]netip.Prefix{
		{{}, prefix("10.147.17.0/24"), prefix("10.0.0.1/32"), prefix("172.16.0.0/13"),
			prefix("128.0.0.0/1")},
		{{}, prefix("fd00::/8"), prefix("fd80:56c2:e21c::/88"), prefix("fd80::7/128"),
			prefix("2000::/3")},
	}
	r := policyroute.NftRule{IIF: names[b.pick(4)], OIF: names[b.pick(4)]}
	r.Syn = b.pick(2) == 1
	family := b.pick(2)
	r.Family = []policyroute.Family{0, policyroute.Families[family]}[b.pick(2)]
	r.Src, r.Dst = prefixes[family][b.pick(5)], prefixes[family][b.pick(5)]
	if r.Proto = []string{"", "tcp", "udp"}[b.pick(3)]; r.Proto != "" {
		r.DstPorts = [][]uint16{nil, {53}, {22, 443, 65535}}[b.pick(3)]
		if len(r.DstPorts) > 0 && b.pick(2) == 1 {
			r.DstPorts, r.SrcPorts = nil, r.DstPorts
		}
	}
	if r.Proto == "" && r.Family != 0 && !r.Syn && b.pick(4) == 0 {
		r.Proto, r.ICMPType = map[policyroute.Family]string{policyroute.V4: "icmp",
			policyroute.V6: "icmpv6"}[r.Family], uint8(1+b.pick(255))
	}
	r.CTState = [][]string{nil, {"established", "related"}, {"new"}}[b.pick(3)]
	r.CTReply, r.LocalDst = b.pick(2) == 1, b.pick(2) == 1
	r.CTStatus = []string{"", "dnat"}[b.pick(2)]
	r.CTFirst = r.CTStatus == "" && b.pick(3) == 1
	r.Over = []policyroute.Over{{}, {Meter: "conns", Conns: 1 + uint32(b.pick(256))},
		{Meter: "rate", Rate: 1 + uint32(b.pick(256))}}[b.pick(3)]
	address := []netip.Addr{addr("10.8.0.1"), addr("fd08::1")}[family]
	verdicts := []policyroute.NftVerdict{
		{}, {Kind: "accept"}, {Kind: "drop"}, {Kind: "return"},
		{Kind: "masquerade"}, {Kind: "masquerade", Random: true},
		{Kind: "jump", Chain: "one"}, {Kind: "goto", Chain: "two"}, {Kind: "redirect", Port: 5300},
		{Kind: "snat", Addr: address}, {Kind: "snat", Addr: address, Random: true}, {Kind: "dnat", Addr: address},
	}
	switch b.pick(4) {
	case 0:
		r.VMap = []string{"who4", "who6"}[family]
		r.Family = policyroute.Families[family]
	case 1:
		r.SynMSS = uint16(1 + b.pick(256)*200)
	default:
		r.Verdict = verdicts[b.pick(len(verdicts))]
	}
	if r.ICMPType != 0 && (r.SynMSS != 0 || r.VMap != "") {
		r.Proto, r.ICMPType = "", 0
	}
	if r.Proto == "udp" && (r.Syn || r.SynMSS != 0) {
		r.Proto, r.DstPorts, r.SrcPorts = "", nil, nil
	}
	if r.Family == 0 && (r.Src.IsValid() || r.Dst.IsValid()) {
		r.Over = policyroute.Over{} // a neighbour is counted whatever its address is
	}
	return r
}

// Whatever rule is written is read back as the same rule.
func FuzzRuleIsReadBack(f *testing.F) {
	f.Add([]byte{1, 2, 1, 1, 0, 1, 3, 4, 1, 2, 1, 1, 1, 1, 3, 5})
	f.Add([]byte{0, 1, 0, 0, 1, 0, 2, 0, 2, 1, 2, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		choices := bytesOf(data)
		want := choices.rule()
		sets := map[string][]uint16{}
		enc := encoder{
			maps: map[string]policyroute.Family{"who4": policyroute.V4, "who6": policyroute.V6},
			portSet: func(ports []uint16) (string, uint32, error) {
				sets["__set0"] = slices.Clone(ports)
				return "__set0", 1, nil
			},
		}
		exprs, err := enc.rule(want)
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		have, ok := decode(exprs, sets)
		if !ok || have.String() != want.String() {
			t.Fatalf("wrote %s\nread  %s (%v)", want, have, ok)
		}
		// One more match in front makes it another rule.
		narrowed := append(ifname(expr.MetaKeyIIFNAME, "other"), exprs...)
		if more, ok := decode(narrowed, sets); ok && more.String() == want.String() {
			t.Fatalf("%s reads the same when it matches one interface only", want)
		}
		// A part of it must never pass for the whole.
		for i := range exprs {
			if part, ok := decode(slices.Delete(slices.Clone(exprs), i, i+1), sets); ok &&
				part.String() == want.String() {
				t.Fatalf("%s reads the same without its expression %d, %T", want, i, exprs[i])
			}
		}
	})
}
