package kernel

import (
	"fmt"
	"net/netip"

	"ztbridge/policyroute"
)

// IfaceBlock is a filter that drops all packets from devices behind an interface, or all replies.
type IfaceBlock struct {
	Iface string
	// Device is the only one whose packets it drops; the zero address if it drops everybody's.
	Device netip.Addr
	// Family is the only IP version that it drops; 0 if it drops all that the devices have.
	Family policyroute.Family
	Block
}

// The hooks that a forwarded packet passes, in this order, by the names of nft(8).
const (
	hookIngress     = "ingress"
	hookPrerouting  = "prerouting"
	HookForward     = "forward" // where packets of all directions meet a filter
	hookPostrouting = "postrouting"
	hookEgress      = "egress"
	// what is for this box itself goes from prerouting to this one instead
	hookInput = "input"
)

// packetHooks lists them.
var packetHooks = []string{hookIngress, hookPrerouting, HookForward, hookPostrouting, hookEgress,
	hookInput}

const (
	// priorityTracked is when a packet is given its connection (NF_IP_PRI_CONNTRACK).
	priorityTracked = -200
	// maxJumps limits nested jumps, as the kernel does.
	maxJumps = 16
	// maxDevices bounds the addresses of single devices that are looked at.
	maxDevices = 16
)

// packet is what is known of packets without seeing one. What is empty is unknown.
type packet struct {
	family   policyroute.Family
	iif, oif string
	src, dst netip.Addr
	reply    bool // to what a device sent
	tracked  bool // the connection's state is known
	// sourceFree reports whether another program may translate its source here before we do.
	sourceFree bool
	// many stands for more packets than a tight limit lets through, of an old connection: what
	// limits new ones alone is no harm.
	many bool
	mark []byte
	port Port // of this box that it is for; zero: it is forwarded
}

// at returns what is known at a hook.
func (p packet) at(hook string, priority int) packet {
	p.tracked = priority > priorityTracked
	switch hook {
	case hookIngress, hookPrerouting, hookInput:
		p.oif = ""
		p.tracked = p.tracked && hook != hookIngress
		if p.reply {
			p.dst = netip.Addr{} // the box's own, until it is translated
		}
	case hookPostrouting:
		p.sourceFree = !p.reply && priority < policyroute.HookPostrouting
		if !p.reply && !p.sourceFree {
			p.src = netip.Addr{}
		}
	case hookEgress:
		p.tracked = true
		if !p.reply {
			p.src = netip.Addr{}
		}
	}
	return p
}

// packetsOf returns the packets that stand for those of devices and for the replies to them.
func packetsOf(s Source, f policyroute.Family, device netip.Addr, egress string) []packet {
	none := make([]byte, 4) // a packet has no mark until a rule sets one
	return []packet{
		{family: f, iif: s.Iface, oif: egress, src: device, mark: none},
		{family: f, iif: egress, oif: s.Iface, dst: device, reply: true, mark: none},
		{family: f, iif: s.Iface, oif: egress, src: device, mark: none, many: true},
		{family: f, iif: egress, oif: s.Iface, dst: device, reply: true, mark: none, many: true},
	}
}

// representatives returns a device's address for each prefix of an IP version, or the zero address
// if the source has no known prefixes at all.
func (s Source) representatives(f policyroute.Family) []netip.Addr {
	if len(s.Prefixes) == 0 {
		return []netip.Addr{{}}
	}
	var out []netip.Addr
	for _, p := range s.Prefixes {
		if policyroute.FamilyOf(p.Addr()) == f {
			out = append(out, inside(p))
		}
	}
	return out
}

// outcome is what is known of a rule or a chain without a packet.
type outcome uint8

const (
	passes outcome = iota
	blocks
	unclear // it depends on what only a packet can tell
)

// action is what a rule does with the packets that it matches.
type action uint8

const (
	goOn action = iota // the next rule decides
	accept
	drop
	leave // the chain, as at its end
	spoil // what it does to packets, their connection does not survive
	call  // another chain, and go on if that does not decide
	move  // to another chain, for good
)

// step is one rule as far as it is known.
type step struct {
	matches, known bool // whether it matches, if that is known
	do             action
	to             string // the chain of call and move
	rule           any    // for whoever describes it
}

// walk follows a packet through a chain and those that it leads to. steps returns the rules of a
// chain for it. decided reports whether the packet goes no further; by and in are the rule that
// blocked it and its chain.
func walk(chain string, depth int, steps func(chain string) ([]step, error)) (
	verdict outcome, decided bool, by step, in string, err error) {
	rules, err := steps(chain)
	if err != nil {
		return 0, false, step{}, "", fmt.Errorf("listing chain %s: %w", chain, err)
	}
	for _, s := range rules {
		switch {
		case s.do == goOn, s.known && !s.matches:
			continue
		case !s.known && (s.do == drop || s.do == spoil):
			continue // some are dropped here, others go on
		case !s.known:
			return unclear, true, step{}, "", nil // some may be accepted
		}
		switch s.do {
		case drop, spoil:
			return blocks, true, s, chain, nil
		case leave:
			return passes, false, step{}, "", nil
		case call, move:
			if depth == maxJumps {
				return unclear, true, step{}, "", nil
			}
			verdict, decided, by, in, err = walk(s.to, depth+1, steps)
			if err != nil || decided || s.do == move {
				return verdict, decided, by, in, err
			}
		default:
			return passes, true, step{}, "", nil
		}
	}
	return passes, false, step{}, "", nil
}

// addBlock adds what blocks devices, unless everybody behind that interface is known to meet it.
// Both IP versions together are told as one.
func addBlock(list []IfaceBlock, b IfaceBlock, others bool) []IfaceBlock {
	for i, have := range list {
		if have.Iface != b.Iface || have.Block != b.Block {
			continue
		}
		switch {
		case have.Family == b.Family && (have.Device == b.Device || !have.Device.IsValid()):
			return list
		case have.Family != b.Family && have.Device == b.Device && !b.Device.IsValid():
			list[i].Family = 0
			return list
		}
	}
	if !others {
		b.Family = 0
	}
	return append(list, b)
}

// families returns the IP versions that devices have.
func (s Source) families() []policyroute.Family {
	var out []policyroute.Family
	for _, f := range policyroute.Families {
		if len(s.representatives(f)) > 0 {
			out = append(out, f)
		}
	}
	return out
}
