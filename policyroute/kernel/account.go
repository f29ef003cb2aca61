package kernel

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

const (
	// accountTable holds the counters in a table of their own. Replacing the filter resets no
	// counter, and nothing here can drop a packet.
	accountTable = policyroute.NftTable + "-count"
	// hookAccount is behind every usual filter (0, Docker's and ours), so that what is dropped
	// there is not counted.
	hookAccount = 20
	// accountSize bounds the addresses that a set counts at a time; the rest is counted together.
	accountSize = 4096
	// accountTimeout forgets an address that was silent. It must be longer than the time between
	// two readings.
	accountTimeout = 10 * time.Minute
)

// Counted is an ingress whose devices' bytes are counted.
type Counted struct {
	Iface    string
	Prefixes []netip.Prefix // of the devices behind it
}

// Bytes are those of IP packets that a device sent and received through this box.
type Bytes struct{ Sent, Received uint64 }

// Add returns the sum of both.
func (b Bytes) Add(c Bytes) Bytes { return Bytes{b.Sent + c.Sent, b.Received + c.Received} }

// Usage is what was counted.
type Usage struct {
	Addrs map[netip.Addr]Bytes
	// Other is that of addresses that there was no room for.
	Other map[policyroute.Family]Bytes
}

// Accounting counts the forwarded bytes of each device, by rules of nftables in a table of its own.
// Safe for concurrent use. Make it with NewAccounting.
type Accounting struct {
	nft  nft
	size uint32 // of each set
	mu   sync.Mutex
	now  []Counted
	on   bool
	// last is what the kernel said when it was read last, pending is what grew since Read.
	last, pending Usage
}

// NewAccounting returns one that counts nothing yet, in the network namespace of the caller.
func NewAccounting() *Accounting {
	return &Accounting{nft: newNft(), size: accountSize, last: newUsage(), pending: newUsage()}
}

func newUsage() Usage {
	return Usage{map[netip.Addr]Bytes{}, map[policyroute.Family]Bytes{}}
}

func accounts() *nftables.Table {
	return &nftables.Table{Name: accountTable, Family: nftables.TableFamilyINet}
}

// Set counts the devices behind these ingresses from now on. It is idempotent, and puts back what
// another program removed; what was counted before is not lost by it.
func (a *Accounting) Set(want []Counted) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	conn, err := a.nft.dial()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	there, err := accountsExist(conn)
	if err != nil {
		return err
	}
	if a.on && there == (len(want) > 0) && reflect.DeepEqual(want, a.now) {
		return nil
	}
	if a.on && there {
		if err := a.read(conn); err != nil {
			return err
		}
	}
	table := accounts()
	conn.AddTable(table)
	conn.DelTable(table)
	if len(want) > 0 {
		if err := a.build(conn, want); err != nil {
			return err
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("counting by device: %w", err)
	}
	a.now, a.on, a.last = slices.Clone(want), true, newUsage()
	return nil
}

func accountsExist(conn *nftables.Conn) (bool, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("listing nftables tables: %w", err)
	}
	return slices.ContainsFunc(tables,
		func(t *nftables.Table) bool { return t.Name == accountTable }), nil
}

// Read returns what was counted since the last time it was called.
func (a *Accounting) Read() (Usage, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	conn, err := a.nft.dial()
	if err != nil {
		return newUsage(), err
	}
	defer conn.CloseLasting()
	if a.on && len(a.now) > 0 {
		there, err := accountsExist(conn)
		if err == nil && there {
			err = a.read(conn)
		}
		if err != nil {
			return newUsage(), err
		}
	}
	out := a.pending
	a.pending = newUsage()
	return out, nil
}

// read adds to pending what grew since it was called last.
func (a *Accounting) read(conn *nftables.Conn) error {
	now := newUsage()
	for _, path := range accountPaths {
		if err := path.read(conn, now); err != nil {
			return err
		}
	}
	for addr, b := range now.Addrs {
		a.pending.Addrs[addr] = a.pending.Addrs[addr].Add(b.since(a.last.Addrs[addr]))
	}
	for f, b := range now.Other {
		a.pending.Other[f] = a.pending.Other[f].Add(b.since(a.last.Other[f]))
	}
	maps.DeleteFunc(a.pending.Addrs, func(_ netip.Addr, b Bytes) bool { return b == Bytes{} })
	a.last = now
	return nil
}

// since returns what was counted after an earlier reading. A smaller counter began again.
func (b Bytes) since(before Bytes) Bytes {
	grown := func(before, now uint64) uint64 {
		if now < before {
			return now
		}
		return now - before
	}
	return Bytes{grown(before.Sent, b.Sent), grown(before.Received, b.Received)}
}

// accountPath is a direction of packets of one IP version.
type accountPath struct {
	chain  string
	family policyroute.Family
	off    [2]uint32 // of the device's address in the headers of IPv4 and IPv6
	of     func(*Bytes) *uint64
}

var accountPaths = []accountPath{
	{"sent", policyroute.V4, [2]uint32{offSaddr4, offSaddr6}, sentBytes},
	{"sent", policyroute.V6, [2]uint32{offSaddr4, offSaddr6}, sentBytes},
	{"received", policyroute.V4, [2]uint32{offDaddr4, offDaddr6}, receivedBytes},
	{"received", policyroute.V6, [2]uint32{offDaddr4, offDaddr6}, receivedBytes},
}

func sentBytes(b *Bytes) *uint64     { return &b.Sent }
func receivedBytes(b *Bytes) *uint64 { return &b.Received }

func (p accountPath) set(table *nftables.Table) *nftables.Set {
	return &nftables.Set{Table: table, Name: fmt.Sprintf("%s%d", p.chain, p.family),
		KeyType: addressType(p.family), Dynamic: true, HasTimeout: true, Timeout: accountTimeout}
}

func addressType(f policyroute.Family) nftables.SetDatatype {
	if f == policyroute.V6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

func devicesSet(table *nftables.Table, f policyroute.Family) *nftables.Set {
	return &nftables.Set{Table: table, Name: fmt.Sprintf("devices%d", f), Interval: true,
		KeyType: addressType(f)}
}

// rules returns a rule that counts for the address, and one that counts when the set is full. In
// that case the kernel ends the first one.
func (p accountPath) rules(table *nftables.Table) [][]expr.Any {
	match := slices.Concat(nfproto(p.family), []expr.Any{
		addressField(p.family, p.off[0], p.off[1]),
		&expr.Lookup{SourceRegister: reg, SetName: devicesSet(table, p.family).Name}})
	return [][]expr.Any{
		slices.Concat(match, []expr.Any{
			&expr.Dynset{SrcRegKey: reg, SetName: p.set(table).Name,
				Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: []expr.Any{&expr.Counter{}}},
			&expr.Verdict{Kind: expr.VerdictReturn}}),
		slices.Concat(match, []expr.Any{&expr.Counter{}}),
	}
}

// read adds to u what is counted in this direction.
func (p accountPath) read(conn *nftables.Conn, u Usage) error {
	table := accounts()
	elements, err := conn.GetSetElements(p.set(table))
	if err != nil {
		return fmt.Errorf("reading what devices %s: %w", p.chain, err)
	}
	for _, e := range elements {
		addr, ok := netip.AddrFromSlice(e.Key)
		if ok && e.Counter != nil {
			b := u.Addrs[addr]
			*p.of(&b) += e.Counter.Bytes
			u.Addrs[addr] = b
		}
	}
	rules, err := conn.GetRules(table, &nftables.Chain{Name: p.chain, Table: table})
	if err != nil {
		return fmt.Errorf("reading what other devices %s: %w", p.chain, err)
	}
	// Two rules for each IP version, in the order of accountPaths; the second one counts.
	at := 1
	if p.family == policyroute.V6 {
		at = 3
	}
	if at >= len(rules) {
		return nil
	}
	for _, x := range rules[at].Exprs {
		if c, ok := x.(*expr.Counter); ok {
			b := u.Other[p.family]
			*p.of(&b) += c.Bytes
			u.Other[p.family] = b
		}
	}
	return nil
}

// build queues the table.
func (a *Accounting) build(conn *nftables.Conn, want []Counted) error {
	table := conn.AddTable(accounts())
	prefixes := map[policyroute.Family][]nftables.SetElement{}
	for _, p := range outermost(want) {
		f := policyroute.FamilyOf(p.Addr())
		prefixes[f] = append(prefixes[f], interval(p)...)
	}
	var errs []error
	for _, f := range policyroute.Families {
		set := devicesSet(table, f)
		errs = append(errs, conn.AddSet(set, nil))
		for part := range slices.Chunk(prefixes[f], 2*elementsPerMessage) {
			errs = append(errs, conn.SetAddElements(set, part))
		}
	}
	chains := map[string]*nftables.Chain{}
	for _, p := range accountPaths {
		set := p.set(table)
		set.Size = a.size
		errs = append(errs, conn.AddSet(set, nil))
		if chains[p.chain] == nil {
			chains[p.chain] = conn.AddChain(&nftables.Chain{Name: p.chain, Table: table})
		}
		for _, exprs := range p.rules(table) {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chains[p.chain], Exprs: exprs})
		}
	}
	accept := nftables.ChainPolicyAccept
	forward := conn.AddChain(&nftables.Chain{Name: "forward", Table: table,
		Type: nftables.ChainTypeFilter, Policy: &accept, Hooknum: nftables.ChainHookForward,
		Priority: nftables.ChainPriorityRef(hookAccount)})
	for _, c := range want {
		jump := func(key expr.MetaKey, chain string) {
			conn.AddRule(&nftables.Rule{Table: table, Chain: forward,
				Exprs: append(ifname(key, c.Iface),
					&expr.Verdict{Kind: expr.VerdictJump, Chain: chain})})
		}
		jump(expr.MetaKeyIIFNAME, "sent")
		jump(expr.MetaKeyOIFNAME, "received")
	}
	return errors.Join(errs...)
}

// outermost returns the prefixes of all that are in no other one, ascending.
func outermost(of []Counted) []netip.Prefix {
	var all, out []netip.Prefix
	for _, c := range of {
		for _, p := range c.Prefixes {
			all = append(all, p.Masked())
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	for _, p := range all {
		if n := len(out); n == 0 || !out[n-1].Contains(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}

// interval returns a prefix in the form of elements: its first address, and what is behind it.
func interval(p netip.Prefix) []nftables.SetElement {
	last := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(last); bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	out := []nftables.SetElement{{Key: p.Masked().Addr().AsSlice()}}
	if end, _ := netip.AddrFromSlice(last); end.Next().IsValid() {
		out = append(out, nftables.SetElement{Key: end.Next().AsSlice(), IntervalEnd: true})
	}
	return out
}
