package policyroute

import "net/netip"

// Journey says where a first packet goes: the device by which it leaves ("" when it does not) and
// the destination that it has then.
func Journey(s State, iif string, src, dst netip.Addr, proto string,
	dport uint16) (string, netip.Addr) {
	p, dev := newMachine(s).forward(packet{iif: iif, src: src, dst: dst, proto: proto,
		dport: dport},
		world{dev: foreign, forwards: true})
	return dev, p.dst
}

// Samples returns the representative addresses of an intent.
func Samples(f Family, in Intent) (sources, destinations []netip.Addr) {
	return addresses(f, []Intent{in})
}

// Tree compiles as if there were too many rules to list.
func Tree(in Intent) (State, error) {
	s, err := Compile(in)
	if err != nil {
		return s, err
	}
	c, err := newCompiler(in)
	if err != nil {
		return s, err
	}
	s.Rules = without(s.Rules, func(r Rule) bool {
		return r.Priority >= RulePolicyFirst && r.Priority <= RulePolicyLast
	})
	for _, f := range Families {
		rules, err := c.treeRules(f)
		if err != nil {
			return s, err
		}
		s.Rules = append(s.Rules, rules...)
	}
	return s, nil
}
