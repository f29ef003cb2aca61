package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// IfaceBlock is a filter that drops all packets from devices behind an interface, or all replies.
type IfaceBlock struct {
	Iface string
	Block
}

// outcome is what is known of a rule or a chain without a packet.
type outcome uint8

const (
	passes outcome = iota
	blocks
	unclear // it depends on what only a packet can tell
)

// ruleset holds other programs' filters, read once.
type ruleset struct {
	ctx  context.Context
	k    *Kernel
	conn *nftables.Conn
	// facts: by which interfaces packets enter and leave, and whether they are answers
	iif, oif string
	answers  bool
	drop     *nftables.Rule  // that blocks; nil: a policy
	at       *nftables.Chain // where
}

// maxJumps limits nested jumps, as the kernel does.
const maxJumps = 16

// IfaceBlocks returns foreign nftables filters that drop all packets of one of the interfaces.
// Filters that packets of other interfaces meet as well are left out. It leaves out rules that
// depend on more than the interface and the connection's state: only a packet can test those.
//
// egress is the interface by which what devices send leaves.
func (k *Kernel) IfaceBlocks(ctx context.Context, ifaces []string,
	egress string) ([]IfaceBlock, error) {
	conn, err := k.nft.dial()
	if err != nil {
		return nil, err
	}
	defer conn.CloseLasting()
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("listing chains: %w", err)
	}
	var out []IfaceBlock
	for _, c := range chains {
		if !filtersForwarded(c) {
			continue
		}
		for _, iface := range ifaces {
			for _, r := range []ruleset{
				{ctx: ctx, k: k, conn: conn, iif: iface, oif: egress},
				{ctx: ctx, k: k, conn: conn, iif: egress, oif: iface, answers: true},
			} {
				result, err := r.base(c, chains)
				if err != nil {
					return nil, err
				}
				if result == blocks {
					out = append(out, IfaceBlock{iface, r.describe(c)})
					break
				}
			}
		}
	}
	return out, nil
}

// ownTables are ours, in family inet.
var ownTables = []string{policyroute.NftTable, traceTable, accountTable}

// filtersForwarded reports whether a chain is another program's and sees forwarded packets.
func filtersForwarded(c *nftables.Chain) bool {
	if c.Hooknum == nil || slices.Contains(ownTables, c.Table.Name) {
		return false
	}
	switch c.Table.Family {
	case nftables.TableFamilyINet, nftables.TableFamilyIPv4, nftables.TableFamilyIPv6:
		return *c.Hooknum == *nftables.ChainHookForward
	}
	return false
}

// base evaluates a base chain.
func (r *ruleset) base(c *nftables.Chain, all []*nftables.Chain) (outcome, error) {
	verdict, decided, err := r.chain(c, all, 0)
	if err != nil || decided {
		return verdict, err
	}
	if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		r.at = c
		return blocks, nil
	}
	return passes, nil
}

// chain evaluates the rules of a chain; decided reports whether packets go no further.
func (r *ruleset) chain(c *nftables.Chain, all []*nftables.Chain,
	depth int) (verdict outcome, decided bool, err error) {
	rules, err := r.conn.GetRules(c.Table, c)
	if err != nil {
		return 0, false, fmt.Errorf("listing chain %s: %w", c.Name, err)
	}
	for _, rule := range rules {
		matches, end, known := r.rule(rule)
		switch {
		case !known && end == nil, known && !matches, matches && end == nil:
			continue // it cannot decide, or not about these packets
		case !known && (end.Kind == expr.VerdictDrop || end.Kind == expr.VerdictReturn):
			if end.Kind == expr.VerdictReturn {
				return unclear, true, nil
			}
			continue // some are dropped here, others go on
		case !known:
			return unclear, true, nil // some may be accepted
		}
		switch end.Kind {
		case expr.VerdictDrop:
			r.drop, r.at = rule, c
			return blocks, true, nil
		case expr.VerdictReturn:
			return passes, false, nil
		case expr.VerdictJump, expr.VerdictGoto:
			verdict, decided, err := r.jump(c, end, all, depth)
			if err != nil || decided || end.Kind == expr.VerdictGoto {
				return verdict, decided, err
			}
		default:
			return passes, true, nil
		}
	}
	return passes, false, nil
}

func (r *ruleset) jump(from *nftables.Chain, to *expr.Verdict, all []*nftables.Chain,
	depth int) (outcome, bool, error) {
	if depth == maxJumps {
		return unclear, true, nil
	}
	for _, c := range all {
		if c.Name == to.Chain && c.Table.Name == from.Table.Name &&
			c.Table.Family == from.Table.Family {
			return r.chain(c, all, depth+1)
		}
	}
	return unclear, true, nil
}

// rule evaluates one rule. end is its verdict, nil if it has none; known is false if it depends on
// the packet whether the rule matches.
func (r *ruleset) rule(rule *nftables.Rule) (matches bool, end *expr.Verdict, known bool) {
	registers := map[uint32][]byte{}
	matches, known = true, true
	for _, e := range rule.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			if e.SourceRegister {
				continue
			}
			registers[e.Register] = r.meta(e.Key)
		case *expr.Ct:
			registers[e.Register] = r.ct(e.Key)
		case *expr.Bitwise:
			registers[e.DestRegister] = masked(registers[e.SourceRegister], e)
		case *expr.Cmp:
			have := registers[e.Register]
			switch {
			case have == nil:
				known = false
			case !compare(have, e):
				return false, nil, true
			}
		case *expr.Lookup:
			isIn, sure := r.lookup(rule.Table, e, registers[e.SourceRegister])
			switch {
			case e.IsDestRegSet || !sure:
				known = false
				if e.IsDestRegSet { // a verdict map: anything may come of it
					return false, &expr.Verdict{Kind: expr.VerdictAccept}, false
				}
			case isIn == e.Invert:
				return false, nil, true
			}
		case *expr.Verdict:
			end = e
		case *expr.Reject:
			end = &expr.Verdict{Kind: expr.VerdictDrop}
		case *expr.Target: // of iptables
			if e.Name != "REJECT" {
				known = false
				continue
			}
			end = &expr.Verdict{Kind: expr.VerdictDrop}
		case *expr.Counter, *expr.Log, *expr.Immediate:
		default:
			known = false
		}
	}
	return matches, end, known
}

// meta returns what is known of a packet, nil for nothing.
func (r *ruleset) meta(key expr.MetaKey) []byte {
	name := make([]byte, unix.IFNAMSIZ)
	switch key {
	case expr.MetaKeyIIFNAME:
		copy(name, r.iif)
	case expr.MetaKeyOIFNAME:
		copy(name, r.oif)
	default:
		return nil
	}
	return name
}

// ct returns the state of the connection: packets that enter open it, packets that leave are
// replies.
func (r *ruleset) ct(key expr.CtKey) []byte {
	if key != expr.CtKeySTATE {
		return nil
	}
	state := expr.CtStateBitNEW
	if r.answers {
		state = expr.CtStateBitESTABLISHED
	}
	return binary.NativeEndian.AppendUint32(nil, state)
}

func masked(value []byte, e *expr.Bitwise) []byte {
	if len(value) != len(e.Mask) || len(value) != len(e.Xor) {
		return nil
	}
	out := make([]byte, len(value))
	for i := range value {
		out[i] = value[i]&e.Mask[i] ^ e.Xor[i]
	}
	return out
}

// compare reports whether a value satisfies a comparison. A name that ends in '*' is compared as
// far as it goes.
func compare(have []byte, e *expr.Cmp) bool {
	have = have[:min(len(have), len(e.Data))]
	switch order := bytes.Compare(have, e.Data); e.Op {
	case expr.CmpOpEq:
		return order == 0
	case expr.CmpOpNeq:
		return order != 0
	case expr.CmpOpLt:
		return order < 0
	case expr.CmpOpLte:
		return order <= 0
	case expr.CmpOpGt:
		return order > 0
	default:
		return order >= 0
	}
}

// lookup reports whether a value is in a set; sure is false if that cannot be known.
func (r *ruleset) lookup(table *nftables.Table, e *expr.Lookup, have []byte) (isIn, sure bool) {
	if have == nil || e.IsDestRegSet {
		return false, false
	}
	set, err := r.conn.GetSetByName(table, e.SetName)
	if err != nil || set.Interval || set.Concatenation {
		return false, false
	}
	elements, err := r.conn.GetSetElements(set)
	if err != nil {
		return false, false
	}
	for _, el := range elements {
		if bytes.Equal(el.Key, have) {
			return true, true
		}
	}
	return false, true
}

// describe names the rule or policy that blocks, and its base chain.
func (r *ruleset) describe(base *nftables.Chain) Block {
	p := tracePoint{family: byte(r.at.Table.Family), table: r.at.Table.Name, chain: r.at.Name,
		base: base.Name}
	if r.drop != nil {
		p.handle = r.drop.Handle
	}
	return r.k.describe(r.ctx, p)
}
