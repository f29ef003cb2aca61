package kernel

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// IfaceBlocks returns foreign filters that drop all packets of the devices behind one of the
// sources, of one of them, or the replies, and that packets by another interface may not meet. It
// leaves out rules that depend on more than interfaces, addresses, the connection's state and
// marks: only a packet can test those.
//
// egress is the interface by which what devices send leaves.
func (k *Kernel) IfaceBlocks(ctx context.Context, sources []Source,
	egress string) ([]IfaceBlock, error) {
	filters, err := k.foreignFilters()
	if err != nil {
		return nil, err
	}
	defer filters.conn.CloseLasting()
	legacy := legacyFilters(ctx)
	var out []IfaceBlock
	for _, s := range sources {
		families := s.families()
		for _, f := range families {
			everybody := s.representatives(f)
			for _, device := range append(everybody, filters.devicesIn(s, f)...) {
				b, found, err := filters.blockOf(ctx, packetsOf(s, f, device, egress), legacy)
				if err != nil {
					return nil, err
				}
				block := IfaceBlock{Iface: s.Iface, Family: f, Block: b}
				if !slices.Contains(everybody, device) {
					block.Device = device
				}
				if found {
					out = addBlock(out, block, len(families) > 1)
				}
			}
		}
	}
	return out, nil
}

// blockOf returns the filter that drops any of the packets, if one is known to.
func (f *filters) blockOf(ctx context.Context, packets []packet, legacy legacyTables) (
	Block, bool, error) {
	for _, p := range packets {
		b, found, err := f.follow(ctx, p)
		b.Limited = p.many
		if err != nil || found {
			return b, found, err
		}
		if b, found = legacy.follow(p); found {
			return b, true, nil
		}
	}
	return Block{}, false, nil
}

// nfInetIngress is NF_INET_INGRESS (linux/netfilter.h).
const nfInetIngress = 5

// ownTables are ours, in family inet.
var ownTables = []string{policyroute.NftTable, traceTable, accountTable}

// filters are other programs' chains that forwarded packets meet. They belong to one goroutine, and
// are valid for a moment: rules are read when they are needed first.
type filters struct {
	k       *Kernel
	conn    *nftables.Conn
	chains  []*nftables.Chain
	base    []baseChain // in the order in which packets pass them
	devices []netip.Addr
	cached  map[*nftables.Chain][]*nftables.Rule
}

// baseChain is a chain that the kernel calls.
type baseChain struct {
	*nftables.Chain
	hook     string
	priority int
	devices  []string // of the hooks ingress and egress: those that it is called for
}

// foreignFilters reads the chains. The caller closes conn.
func (k *Kernel) foreignFilters() (*filters, error) {
	conn, err := k.nft.dial()
	if err != nil {
		return nil, err
	}
	out := &filters{k: k, conn: conn, cached: map[*nftables.Chain][]*nftables.Rule{}}
	if out.chains, err = conn.ListChains(); err != nil {
		_ = conn.CloseLasting()
		return nil, fmt.Errorf("listing chains: %w", err)
	}
	var of map[chainName][]string
	for _, c := range out.chains {
		hook := hookOf(c)
		if hook == "" || slices.Contains(ownTables, c.Table.Name) {
			continue
		}
		b := baseChain{Chain: c, hook: hook, priority: int(*c.Priority)}
		if hook == hookIngress || hook == hookEgress {
			if of == nil {
				if of, err = hookDevices(); err != nil {
					_ = conn.CloseLasting()
					return nil, err
				}
			}
			b.devices = of[chainName{byte(c.Table.Family), c.Table.Name, c.Name}]
		}
		out.base = append(out.base, b)
	}
	slices.SortStableFunc(out.base, func(a, b baseChain) int {
		return cmp.Or(cmp.Compare(slices.Index(packetHooks, a.hook),
			slices.Index(packetHooks, b.hook)),
			cmp.Compare(a.priority, b.priority))
	})
	return out, nil
}

// hookOf returns the hook of a chain that packets from elsewhere pass; "" for any other.
func hookOf(c *nftables.Chain) string {
	if c.Hooknum == nil || c.Priority == nil {
		return ""
	}
	switch c.Table.Family {
	case nftables.TableFamilyNetdev:
		return map[nftables.ChainHook]string{unix.NF_NETDEV_INGRESS: hookIngress,
			unix.NF_NETDEV_EGRESS: hookEgress}[*c.Hooknum]
	case nftables.TableFamilyINet, nftables.TableFamilyIPv4, nftables.TableFamilyIPv6:
		return map[nftables.ChainHook]string{unix.NF_INET_PRE_ROUTING: hookPrerouting,
			unix.NF_INET_FORWARD: HookForward, unix.NF_INET_POST_ROUTING: hookPostrouting,
			unix.NF_INET_LOCAL_IN: hookInput, nfInetIngress: hookIngress}[*c.Hooknum]
	}
	return ""
}

// meets reports whether a packet comes to the chain.
func (b baseChain) meets(p packet) bool {
	switch b.hook {
	case hookIngress:
		return slices.Contains(b.devices, p.iif)
	case hookEgress:
		return slices.Contains(b.devices, p.oif)
	case hookInput:
		if !p.local() {
			return false
		}
	case HookForward, hookPostrouting:
		if p.local() {
			return false
		}
	}
	return b.Table.Family == nftables.TableFamilyINet ||
		(b.Table.Family == nftables.TableFamilyIPv6) == (p.family == policyroute.V6)
}

// follow returns the filter that drops a packet, if any is known to.
func (f *filters) follow(ctx context.Context, p packet) (Block, bool, error) {
	for _, b := range f.base {
		if !b.meets(p) {
			continue
		}
		here := p.at(b.hook, b.priority)
		verdict, decided, by, in, err := walk(b.Name, 0, f.steps(b, &here))
		if err != nil {
			return Block{}, false, err
		}
		p.mark = here.mark
		if !decided && b.Policy != nil && *b.Policy == nftables.ChainPolicyDrop {
			verdict, in = blocks, b.Name
		}
		if verdict == blocks {
			return f.describe(ctx, b, in, by, p), true, nil
		}
	}
	return Block{}, false, nil
}

// markAt returns the mark that a packet has when it is routed, nil if that is not known.
func (f *filters) markAt(p packet) ([]byte, error) {
	for _, b := range f.base {
		if b.meets(p) && (b.hook == hookIngress || b.hook == hookPrerouting) {
			here := p.at(b.hook, b.priority)
			if _, _, _, _, err := walk(b.Name, 0, f.steps(b, &here)); err != nil {
				return nil, err
			}
			p.mark = here.mark
		}
	}
	return p.mark, nil
}

// describe names the rule, or the policy, that blocks.
func (f *filters) describe(ctx context.Context, base baseChain, in string, by step,
	p packet) Block {
	point := tracePoint{family: byte(base.Table.Family), table: base.Table.Name, chain: in,
		base: base.Name}
	if rule, ok := by.rule.(*nftables.Rule); ok {
		point.handle = rule.Handle
	}
	b := f.k.describe(ctx, point)
	b.Hook, b.Spoils = base.hook, by.do == spoil
	switch base.hook {
	case hookIngress:
		b.Device = p.iif
	case hookEgress:
		b.Device = p.oif
	}
	return b
}

// rules returns those of a chain.
func (f *filters) rules(c *nftables.Chain) ([]*nftables.Rule, error) {
	if have, ok := f.cached[c]; ok {
		return have, nil
	}
	rules, err := f.conn.GetRules(c.Table, c)
	if err == nil {
		f.cached[c] = rules
	}
	return rules, err
}

// devicesIn returns the addresses of single devices that some rule names.
func (f *filters) devicesIn(s Source, family policyroute.Family) []netip.Addr {
	if f.devices == nil {
		f.devices = []netip.Addr{}
		for _, c := range f.chains {
			if slices.Contains(ownTables, c.Table.Name) {
				continue
			}
			rules, _ := f.rules(c) // what cannot be read now is told by follow
			for _, r := range rules {
				f.devices = append(f.devices, addressesIn(r)...)
			}
		}
	}
	var out []netip.Addr
	for _, a := range f.devices {
		if policyroute.FamilyOf(a) == family && len(out) < maxDevices && !slices.Contains(out, a) &&
			slices.ContainsFunc(s.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			out = append(out, a)
		}
	}
	return out
}

// addressesIn returns the whole addresses that a rule compares with.
func addressesIn(r *nftables.Rule) (out []netip.Addr) {
	for i, e := range r.Exprs[:max(0, len(r.Exprs)-1)] {
		load, isLoad := e.(*expr.Payload)
		compare, isCompare := r.Exprs[i+1].(*expr.Cmp)
		if !isLoad || !isCompare || load.Base != expr.PayloadBaseNetworkHeader ||
			compare.Op != expr.CmpOpEq {
			continue
		}
		if a, ok := netip.AddrFromSlice(compare.Data); ok {
			out = append(out, a)
		}
	}
	return out
}

// steps returns what the rules of a chain do to a packet. Those that set its mark change p.
func (f *filters) steps(base baseChain, p *packet) func(string) ([]step, error) {
	return func(name string) ([]step, error) {
		i := slices.IndexFunc(f.chains, func(c *nftables.Chain) bool {
			return c.Name == name && c.Table.Name == base.Table.Name &&
				c.Table.Family == base.Table.Family
		})
		if i < 0 {
			return []step{{do: accept}}, nil // not to be read: unclear
		}
		rules, err := f.rules(f.chains[i])
		if err != nil {
			return nil, err
		}
		var out []step
		for _, r := range rules {
			out = append(out, evaluation{f: f, p: p}.rule(r))
		}
		return out, nil
	}
}

// extension reads what an extension of iptables does; mark is what it sets, if it does.
func extension(e *expr.Target) (do action, mark []byte, sets bool) {
	switch e.Name {
	case "REJECT":
		return drop, nil, false
	case "MARK":
		raw, ok := e.Info.(*xt.Unknown)
		const size = 8 // of xt_mark_tginfo2: mark and mask
		if !ok || len(*raw) < size || binary.NativeEndian.Uint32((*raw)[4:]) != ^uint32(0) {
			return goOn, nil, true
		}
		return goOn, bytes.Clone((*raw)[:4]), true
	case "CONNMARK":
		return goOn, nil, true
	case "NOTRACK":
		return spoil, nil, false
	case "CT":
		raw, ok := e.Info.(*xt.Unknown)
		const notrack = 1 // XT_CT_NOTRACK, in the flags that xt_ct_target_info begins with
		if ok && len(*raw) > 1 && binary.NativeEndian.Uint16(*raw)&notrack != 0 {
			return spoil, nil, false
		}
	}
	return goOn, nil, false
}
