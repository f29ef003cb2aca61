package policyroute

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// String renders the whole table in nft's own language, ready for `nft -f`. It is empty for an
// empty Ruleset. The text is canonical: two rulesets that filter alike under this package's reading
// have the same text, whichever of them came from Compile and whichever from the kernel.
func (r Ruleset) String() string {
	if r.Empty() {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", NftTable)
	counters := r.Counters()
	for _, name := range slices.Compact(slices.Sorted(maps.Values(counters))) {
		fmt.Fprintf(&b, "\tcounter %s {\n\t}\n", name)
	}
	for _, m := range r.Maps {
		b.WriteString(m.String())
	}
	for _, m := range r.Meters {
		b.WriteString(m.String())
	}
	for _, c := range r.Chains {
		b.WriteString(c.text(counters[c.Name]))
	}
	b.WriteString("}\n")
	return b.String()
}

// Empty reports whether the table does not exist.
func (r Ruleset) Empty() bool { return len(r.Maps) == 0 && len(r.Chains) == 0 }

// String renders the map as it stands inside of a table block.
func (m VerdictMap) String() string {
	key := "ipv4_addr"
	if m.Family == V6 {
		key = "ipv6_addr"
	}
	b := fmt.Appendf(nil, "\tmap %s {\n\t\ttype %s : verdict\n\t\tflags interval\n", m.Name, key)
	if len(m.Elements) > 0 {
		b = append(b, "\t\telements = {\n"...)
		for _, e := range m.Elements {
			b = append(b, "\t\t\t"...)
			b = e.appendTo(b)
			b = append(b, ",\n"...)
		}
		b = append(b, "\t\t}\n"...)
	}
	return string(append(b, "\t}\n"...))
}

// String renders the set as it stands inside of a table block.
func (m Meter) String() string {
	key, expiry := "ipv4_addr", "flags dynamic"
	switch m.Family {
	case V6:
		key = "ipv6_addr"
	case 0:
		key = "ether_addr"
	}
	if m.Expires {
		expiry = "flags dynamic,timeout\n\t\ttimeout 1m"
	}
	return fmt.Sprintf("\tset %s {\n\t\ttype %s\n\t\tsize %d\n\t\t%s\n\t}\n", m.Name, key,
		MeterSize, expiry)
}

// String renders the match in nft's language.
func (o Over) String(f Family) string {
	source := "ether"
	if f != 0 {
		source = nftFamily(f)
	}
	if o.Rate != 0 {
		return fmt.Sprintf("update @%s { %s saddr limit rate over %d/second burst %d packets }",
			o.Meter, source, o.Rate, o.Burst())
	}
	return fmt.Sprintf("add @%s { %s saddr ct count over %d }", o.Meter, source, o.Conns)
}

// Burst returns how many connections may be opened in a row.
func (o Over) Burst() uint32 { return 2 * o.Rate }

// String renders the element; nft prints a range that is a prefix back as one.
func (e VerdictElement) String() string { return string(e.appendTo(nil)) }

// appendTo spares formatting: there are thousands of elements, rendered whenever tables are
// compared.
func (e VerdictElement) appendTo(b []byte) []byte {
	b = e.First.AppendTo(b)
	if e.First != e.Last {
		b = append(b, '-')
		b = e.Last.AppendTo(b)
	}
	b = append(b, " : goto "...)
	return append(b, e.Chain...)
}

// String renders the chain as it stands inside of a table block, but for the counter of its layer:
// what is counted changes nothing of what is filtered.
func (c NftChain) String() string { return c.text("") }

// text renders the chain with the counter of its layer, empty for none.
func (c NftChain) text(counter string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
	if c.Hook != nil {
		fmt.Fprintf(&b, "\t\t%s\n", c.Hook)
	}
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "\t\t%s\n", r.text(counter))
	}
	b.WriteString("\t}\n")
	return b.String()
}

// String renders the attachment of a base chain.
func (h Hook) String() string {
	return fmt.Sprintf("type %s hook %s priority %d; policy accept;", h.Type, h.Hook, h.Priority)
}

// String renders the rule in nft's language, without the chain it belongs to and its counter.
func (r NftRule) String() string { return r.text("") }

func (r NftRule) text(counter string) string {
	w := r.matches()
	switch {
	case r.SynMSS != 0:
		w = append(w, fmt.Sprintf("tcp option maxseg size > %d tcp option maxseg size set %d",
			r.SynMSS, r.SynMSS))
	case r.VMap != "":
		w = append(w, fmt.Sprintf("%s saddr vmap @%s", nftFamily(r.Family), r.VMap))
	case r.DstVMap != "":
		w = append(w, fmt.Sprintf("%s daddr vmap @%s", nftFamily(r.Family), r.DstVMap))
	case r.SetLabel != 0:
		w = append(w, fmt.Sprintf("ct label set %d", r.SetLabel))
	case r.Verdict.Kind != "":
		if counter != "" && r.Refuses() {
			w = append(w, fmt.Sprintf("counter name %q", counter))
		}
		w = append(w, r.Verdict.String())
	}
	if r.Comment != "" {
		w = append(w, fmt.Sprintf("comment \"%s\"", r.Comment))
	}
	return strings.Join(w, " ")
}

func (r NftRule) matches() []string {
	var w []string
	add := func(cond bool, format string, args ...any) {
		if cond {
			w = append(w, fmt.Sprintf(format, args...))
		}
	}
	add(r.IIF != "", "iifname %q", r.IIF)
	add(r.OIF != "", "oifname %q", r.OIF)
	add(r.Family != 0 && !r.familyImplied() && r.ICMPType == 0, "meta nfproto %s", r.Family)
	add(r.Src.IsValid(), "%s saddr %s", nftFamily(FamilyOf(r.Src.Addr())), nftPrefix(r.Src))
	add(r.Dst.IsValid(), "%s daddr %s", nftFamily(FamilyOf(r.Dst.Addr())), nftPrefix(r.Dst))
	add(r.NotSrcMAC != "", "ether saddr != %s", r.NotSrcMAC)
	switch {
	case r.ICMPType != 0:
		add(true, "%s type %d", r.Proto, r.ICMPType)
	case len(r.DstPorts) > 0:
		add(true, "%s dport %s", r.Proto, nftPorts(r.DstPorts))
	case len(r.SrcPorts) > 0:
		add(true, "%s sport %s", r.Proto, nftPorts(r.SrcPorts))
	case r.Proto != "" && !r.Syn && r.SynMSS == 0: // a match of TCP flags implies TCP
		add(true, "meta l4proto %s", r.Proto)
	}
	add(r.Syn || r.SynMSS != 0, "tcp flags & (syn|rst) == syn")
	add(len(r.CTState) > 0, "ct state %s", strings.Join(r.CTState, ","))
	add(r.CTReply, "ct direction reply")
	add(r.CTOriginal, "ct direction original")
	add(r.CTLabel != 0, "ct label %d", r.CTLabel)
	add(r.CTStatus != "", "ct status %s", r.CTStatus)
	add(r.LocalDst, "fib daddr type local")
	add(r.CTFirst, "ct status ! confirmed")
	add(r.NoReturn, "fib saddr . iif oif missing")
	add(r.Over.Meter != "", "%s", r.Over.String(r.Family))
	return w
}

// familyImplied reports whether the rule looks at an address of its one family. That makes a match
// of the family superfluous, and nft prints none.
func (r NftRule) familyImplied() bool {
	return r.Src.IsValid() || r.Dst.IsValid() || r.VMap != "" || r.DstVMap != "" ||
		r.Over.Meter != ""
}

// String renders the verdict in nft's language.
func (v NftVerdict) String() string {
	switch v.Kind {
	case "jump", "goto":
		return v.Kind + " " + v.Chain
	case "snat", "dnat":
		text := fmt.Sprintf("%s %s to %s", v.Kind, nftFamily(FamilyOf(v.Addr)), v.Addr)
		return text + v.random()
	case "masquerade":
		return v.Kind + v.random()
	case "redirect":
		return "redirect to :" + strconv.Itoa(int(v.Port))
	}
	return v.Kind
}

func (v NftVerdict) random() string {
	if v.Random {
		return " fully-random"
	}
	return ""
}

func nftFamily(f Family) string {
	if f == V6 {
		return "ip6"
	}
	return "ip"
}

func nftPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.Masked().String()
}

func nftPorts(ports []uint16) string {
	if len(ports) == 1 {
		return strconv.Itoa(int(ports[0]))
	}
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = strconv.Itoa(int(p))
	}
	return "{ " + strings.Join(words, ", ") + " }"
}
