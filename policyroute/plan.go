package policyroute

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Plan is an ordered list of operations. After every prefix of it no packet of a client can leave
// by a way that neither the state before nor the state after allows, so that an applier may stop
// anywhere: observing and planning again finishes the work.
type Plan struct {
	Ops []Op
}

// Empty reports whether nothing is to be done.
func (p Plan) Empty() bool { return len(p.Ops) == 0 }

// ChangesFilter reports whether table inet ztb is not yet as it is wanted.
func (p Plan) ChangesFilter() bool {
	return slices.ContainsFunc(p.Ops, func(o Op) bool {
		switch o.(type) {
		case ReplaceNft, ChangeNftMaps:
			return true
		}
		return false
	})
}

// String prints the plan as commands for a root shell, one or more lines for each operation.
func (p Plan) String() string {
	var b strings.Builder
	for _, op := range p.Ops {
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Op is one operation on the kernel. The concrete types of this file are all there are. Each is
// idempotent: adding what is there and deleting what is not are no errors. Its String is the
// command that does the same.
type Op interface {
	String() string
	op() // closes the set: an applier's type switch is complete
}

// SetLink sets what is not zero. A device that does not exist is skipped without error: its driver
// will make it and the next reconcile will find it.
type SetLink struct {
	Name string
	MTU  int
	Up   bool
}

// AddAddr adds an address with IFA_F_NOPREFIXROUTE (and, for IPv6, IFA_F_NODAD), so that no route
// appears in main. A device that does not exist is skipped.
type AddAddr struct {
	Dev  string
	Addr netip.Prefix
}

// DelAddr removes an address.
type DelAddr struct {
	Dev  string
	Addr netip.Prefix
}

// AddRule adds a rule with protocol Protocol, or ProtocolKept.
type AddRule struct{ Rule Rule }

// DelRule removes the rule that equals this one in every field, and no other.
type DelRule struct{ Rule Rule }

// ReplaceRoute replaces the route of the same family, table, destination and metric in one step. It
// uses NLM_F_CREATE|NLM_F_REPLACE and protocol Protocol. A route with a gateway is set with
// RTNH_F_ONLINK: the device is known to lead there, whatever main says at this moment.
type ReplaceRoute struct{ Route Route }

// DelRoute removes the route of this family, table, destination, metric and type.
type DelRoute struct{ Route Route }

// SetSysctl writes a kernel parameter, after recording its present value unless one is recorded
// already. A key that does not exist (its interface has gone) is skipped.
type SetSysctl struct{ Sysctl Sysctl }

// RestoreSysctl writes the recorded value back and forgets the record. Without a record, or without
// the key, it does nothing.
type RestoreSysctl struct{ Key string }

// ReplaceNft replaces table inet ztb by this content in one transaction; an empty one deletes it.
type ReplaceNft struct{ Ruleset Ruleset }

// ChangeNftMaps changes elements of maps of table inet ztb in one transaction. Table is the content
// that the whole table has then: one that is not what the change was planned for is replaced by
// that.
type ChangeNftMaps struct {
	Changes []MapChange
	Table   Ruleset
}

// MapChange removes elements of a verdict map and adds others. Both are exact ranges, ascending.
type MapChange struct {
	Map         string
	Family      Family
	Remove, Add []VerdictElement
}

// SetChain makes the chain, or empties it, and fills it, in one iptables-restore transaction. It
// does not touch the jump to it.
type SetChain struct{ Chain Chain }

// EnsureJump makes the first rule of Parent jump to Chain, and removes other copies of that jump.
type EnsureJump struct {
	Family        Family
	Parent, Chain string
}

// DeleteChain removes every jump from Parent to the chain, then the chain.
type DeleteChain struct {
	Family        Family
	Parent, Chain string
}

func (SetLink) op()       {}
func (AddAddr) op()       {}
func (DelAddr) op()       {}
func (AddRule) op()       {}
func (DelRule) op()       {}
func (ReplaceRoute) op()  {}
func (DelRoute) op()      {}
func (SetSysctl) op()     {}
func (RestoreSysctl) op() {}
func (ReplaceNft) op()    {}
func (ChangeNftMaps) op() {}
func (SetChain) op()      {}
func (EnsureJump) op()    {}
func (DeleteChain) op()   {}

func (o SetLink) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ip link set dev %s", o.Name)
	if o.MTU > 0 {
		fmt.Fprintf(&b, " mtu %d", o.MTU)
	}
	if o.Up {
		b.WriteString(" up")
	}
	return b.String()
}

func (o AddAddr) String() string {
	if FamilyOf(o.Addr.Addr()) == V6 {
		return fmt.Sprintf("ip -6 addr add %s dev %s noprefixroute nodad", o.Addr, o.Dev)
	}
	return fmt.Sprintf("ip addr add %s dev %s noprefixroute", o.Addr, o.Dev)
}

func (o DelAddr) String() string {
	return fmt.Sprintf("%s addr del %s dev %s", FamilyOf(o.Addr.Addr()).ip(), o.Addr, o.Dev)
}

func (o AddRule) String() string {
	return fmt.Sprintf("%s rule add %s protocol %d", o.Rule.Family.ip(), o.Rule, o.Rule.protocol())
}

func (o DelRule) String() string {
	return fmt.Sprintf("%s rule del %s protocol %d", o.Rule.Family.ip(), o.Rule, o.Rule.protocol())
}

func (o ReplaceRoute) String() string {
	return fmt.Sprintf("%s route replace %s proto %d", o.Route.Family.ip(), o.Route, Protocol)
}

func (o DelRoute) String() string {
	return fmt.Sprintf("%s route del %s proto %d", o.Route.Family.ip(), o.Route, Protocol)
}

func (o SetSysctl) String() string { return "sysctl -qw " + o.Sysctl.String() }

func (o RestoreSysctl) String() string {
	return fmt.Sprintf("# put %s back to the value recorded before the first write", o.Key)
}

func (o ReplaceNft) String() string {
	if o.Ruleset.Empty() {
		return "nft delete table inet " + NftTable
	}
	// "table" before "delete" makes the deletion succeed when there is no table yet.
	return fmt.Sprintf("nft -f - <<'EOF'\ntable inet %[1]s\ndelete table inet %[1]s\n%[2]s\nEOF",
		NftTable, strings.TrimRight(o.Ruleset.String(), "\n"))
}

func (o ChangeNftMaps) String() string {
	b := []byte("nft -f - <<'EOF'\n")
	each := func(verb, name string, elements []VerdictElement) {
		for _, e := range elements {
			b = fmt.Appendf(b, "%s element inet %s %s { ", verb, NftTable, name)
			b = append(e.appendTo(b), " }\n"...)
		}
	}
	for _, c := range o.Changes {
		each("delete", c.Map, c.Remove)
		each("add", c.Map, c.Add)
	}
	return string(append(b, "EOF"...))
}

func (o SetChain) String() string {
	var b strings.Builder
	// Naming a user chain with --noflush empties that chain alone.
	fmt.Fprintf(&b, "%s-restore --noflush <<'EOF'\n*filter\n:%s - [0:0]\n",
		o.Chain.Family.iptables(), o.Chain.Name)
	for _, r := range o.Chain.Rules {
		fmt.Fprintf(&b, "-A %s %s\n", o.Chain.Name, r)
	}
	b.WriteString("COMMIT\nEOF")
	return b.String()
}

func (o EnsureJump) String() string {
	return fmt.Sprintf("%s -I %s 1 -j %s", o.Family.iptables(), o.Parent, o.Chain)
}

func (o DeleteChain) String() string {
	ipt := o.Family.iptables()
	return fmt.Sprintf("%[1]s -D %[2]s -j %[3]s; %[1]s -F %[3]s; %[1]s -X %[3]s", ipt, o.Parent,
		o.Chain)
}
