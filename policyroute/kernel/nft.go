package kernel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// nftBuffer is the size of the sockets' buffers in bytes. One transaction is one sendmsg, and the
// kernel answers each of its messages: a table with some thousand members needs more than the
// default of 208 KiB in both directions.
const nftBuffer = 16 << 20

// elementsPerMessage keeps a message's list of elements below the 64 KiB of a netlink attribute. An
// element with the end of its range takes at most 130 bytes.
const elementsPerMessage = 400

// hooks translates the names of nft(8).
var hooks = map[string]nftables.ChainHook{
	"prerouting":  unix.NF_INET_PRE_ROUTING,
	"input":       unix.NF_INET_LOCAL_IN,
	"forward":     unix.NF_INET_FORWARD,
	"output":      unix.NF_INET_LOCAL_OUT,
	"postrouting": unix.NF_INET_POST_ROUTING,
}

// nft reads and replaces our table. It is not safe for concurrent use.
type nft struct {
	table nftables.Table
}

func newNft() nft {
	return nft{table: nftables.Table{Name: policyroute.NftTable, Family: nftables.TableFamilyINet}}
}

// dial opens a connection for one observation or transaction. A lasting one would be left with
// unread answers by a transaction that failed.
func (n nft) dial() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.AsLasting(),
		nftables.WithSockOptions(func(c *netlink.Conn) error {
			return errors.Join(c.SetReadBuffer(nftBuffer), c.SetWriteBuffer(nftBuffer))
		}))
	if err != nil {
		return nil, fmt.Errorf("opening an nftables socket: %w", err)
	}
	return conn, nil
}

// replace replaces our table in one transaction. An empty ruleset removes it.
func (n nft) replace(want policyroute.Ruleset) error {
	conn, err := n.dial()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	// Adding first makes the deletion succeed when there is no table.
	conn.AddTable(&n.table)
	conn.DelTable(&n.table)
	if !want.Empty() {
		if err := n.build(conn, want); err != nil {
			return err
		}
	}
	return conn.Flush()
}

// build queues the table: chains first, because maps lead to them, then maps, because rules use
// them.
func (n nft) build(conn *nftables.Conn, want policyroute.Ruleset) error {
	table := conn.AddTable(&n.table)
	chains := make([]*nftables.Chain, len(want.Chains))
	for i, c := range want.Chains {
		chain := &nftables.Chain{Name: c.Name, Table: table}
		if c.Hook != nil {
			hook, ok := hooks[c.Hook.Hook]
			if !ok {
				return fmt.Errorf("chain %s: hook %q is unknown", c.Name, c.Hook.Hook)
			}
			accept := nftables.ChainPolicyAccept
			chain.Type, chain.Policy = nftables.ChainType(c.Hook.Type), &accept
			chain.Hooknum, chain.Priority = &hook,
				nftables.ChainPriorityRef(nftables.ChainPriority(c.Hook.Priority))
		}
		chains[i] = conn.AddChain(chain)
	}
	enc := encoder{maps: map[string]policyroute.Family{}, portSet: portSet(conn, table)}
	for _, m := range want.Maps {
		if err := addMap(conn, table, m); err != nil {
			return fmt.Errorf("map %s: %w", m.Name, err)
		}
		enc.maps[m.Name] = m.Family
	}
	if err := addMeters(conn, table, want.Meters); err != nil {
		return err
	}
	counters := addCounters(conn, table, want)
	for i, c := range want.Chains {
		for _, r := range c.Rules {
			exprs, err := enc.rule(r)
			if err != nil {
				return fmt.Errorf("chain %s: rule %q: %w", c.Name, r, err)
			}
			if name := counters[c.Name]; name != "" && r.Refuses() {
				exprs = counted(exprs, name)
			}
			rule := &nftables.Rule{Table: table, Chain: chains[i], Exprs: exprs}
			if r.Comment != "" {
				rule.UserData = userdata.AppendString(nil, userdata.TypeComment, r.Comment)
			}
			conn.AddRule(rule)
		}
	}
	return nil
}

func addMap(conn *nftables.Conn, table *nftables.Table, m policyroute.VerdictMap) error {
	set := verdictMap(table, m.Name, m.Family)
	if err := conn.AddSet(set, nil); err != nil {
		return err
	}
	return inParts(m.Elements, func(part []nftables.SetElement) error {
		return conn.SetAddElements(set, part)
	})
}

func verdictMap(table *nftables.Table, name string, f policyroute.Family) *nftables.Set {
	return &nftables.Set{Table: table, Name: name, IsMap: true, Interval: true,
		KeyType: addressType(f), DataType: nftables.TypeVerdict}
}

// inParts yields as much as one message can hold at a time, both ends of a range in one.
func inParts(elements []policyroute.VerdictElement, do func([]nftables.SetElement) error) error {
	for part := range slices.Chunk(elements, elementsPerMessage) {
		if err := do(intervals(part)); err != nil {
			return err
		}
	}
	return nil
}

// change changes elements of our maps in one transaction. It fails and changes nothing if an
// element to remove is missing, or one to add overlaps another.
func (n nft) change(o policyroute.ChangeNftMaps) error {
	conn, err := n.dial()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	for _, c := range o.Changes {
		set := verdictMap(&n.table, c.Map, c.Family)
		remove := func(part []nftables.SetElement) error {
			return conn.SetDeleteElements(set, part)
		}
		add := func(part []nftables.SetElement) error { return conn.SetAddElements(set, part) }
		if err := errors.Join(inParts(c.Remove, remove), inParts(c.Add, add)); err != nil {
			return fmt.Errorf("map %s: %w", c.Map, err)
		}
	}
	return conn.Flush()
}

// portSet makes the anonymous sets that rules with several ports refer to.
func portSet(conn *nftables.Conn, table *nftables.Table) func([]uint16) (string, uint32, error) {
	return func(ports []uint16) (string, uint32, error) {
		set := &nftables.Set{Table: table, Anonymous: true, Constant: true,
			KeyType: nftables.TypeInetService}
		elements := make([]nftables.SetElement, len(ports))
		for i, p := range ports {
			elements[i].Key = []byte{byte(p >> 8), byte(p)}
		}
		err := conn.AddSet(set, elements)
		return set.Name, set.ID, err
	}
}

// observe reads our table. Foreign rules, maps or chains in it appear as something that Compile
// never makes, so that a comparison finds them.
func (n nft) observe() (policyroute.Ruleset, error) {
	conn, err := n.dial()
	if err != nil {
		return policyroute.Ruleset{}, err
	}
	defer conn.CloseLasting()
	all, err := conn.ListChainsOfTableFamily(n.table.Family)
	if err != nil {
		return policyroute.Ruleset{}, fmt.Errorf("listing nftables chains: %w", err)
	}
	chains := slices.DeleteFunc(all,
		func(c *nftables.Chain) bool { return c.Table.Name != n.table.Name })
	if len(chains) == 0 {
		// A table without chains filters nothing; replacing it is as well as making it.
		return policyroute.Ruleset{}, nil
	}
	out := policyroute.Ruleset{}
	ports, err := n.sets(conn, &out)
	if err != nil {
		return policyroute.Ruleset{}, err
	}
	for _, c := range chains {
		chain, err := n.chain(conn, c, ports)
		if err != nil {
			return policyroute.Ruleset{}, err
		}
		out.Chains = append(out.Chains, chain)
	}
	return out, nil
}

// sets reads the verdict maps and the meters into out, and returns, by name, the anonymous sets of
// ports.
func (n nft) sets(conn *nftables.Conn, out *policyroute.Ruleset) (map[string][]uint16, error) {
	sets, err := conn.GetSets(&n.table)
	if err != nil {
		return nil, fmt.Errorf("listing nftables sets: %w", err)
	}
	ports := map[string][]uint16{}
	for _, s := range sets {
		if s.Dynamic {
			out.Meters = append(out.Meters, meter(s))
			continue
		}
		raw, err := conn.GetSetElements(s)
		if err != nil {
			return nil, fmt.Errorf("listing elements of nftables set %s: %w", s.Name, err)
		}
		if s.Anonymous {
			ports[s.Name] = portsOf(raw)
			continue
		}
		m := policyroute.VerdictMap{Name: s.Name, Family: policyroute.V4}
		elems, ok := elements(raw)
		if !ok || !s.IsMap {
			m.Name += " (foreign)"
		}
		if m.Elements = elems; len(elems) > 0 {
			m.Family = policyroute.FamilyOf(elems[0].First)
		}
		out.Maps = append(out.Maps, m)
	}
	return ports, nil
}

func portsOf(raw []nftables.SetElement) []uint16 {
	var out []uint16
	for _, e := range raw {
		if len(e.Key) == 2 && !e.IntervalEnd {
			out = append(out, uint16(e.Key[0])<<8|uint16(e.Key[1]))
		}
	}
	slices.Sort(out)
	return out
}

func (n nft) chain(conn *nftables.Conn, c *nftables.Chain,
	ports map[string][]uint16) (policyroute.NftChain, error) {
	out := policyroute.NftChain{Name: c.Name}
	if c.Hooknum != nil && c.Priority != nil {
		out.Hook = &policyroute.Hook{Type: string(c.Type), Priority: int(*c.Priority)}
		for name, number := range hooks {
			if number == *c.Hooknum {
				out.Hook.Hook = name
			}
		}
		if c.Policy != nil && *c.Policy != nftables.ChainPolicyAccept {
			out.Hook.Type += " (policy drop)"
		}
	}
	rules, err := conn.GetRules(&n.table, c)
	if err != nil {
		return out, fmt.Errorf("listing rules of nftables chain %s: %w", c.Name, err)
	}
	for _, r := range rules {
		out.Rules = append(out.Rules, decodeRule(r.Exprs, r.UserData, r.Handle, ports))
	}
	return out, nil
}

func decodeRule(exprs []expr.Any, data []byte, handle uint64,
	ports map[string][]uint16) policyroute.NftRule {
	rule, ok := decode(uncounted(exprs), ports)
	if !ok {
		return policyroute.NftRule{Comment: fmt.Sprintf("foreign rule, handle %d", handle)}
	}
	rule.Comment, _ = userdata.GetString(data, userdata.TypeComment)
	return rule
}
