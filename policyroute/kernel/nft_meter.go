package kernel

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// ctConfirmed is IPS_CONFIRMED (linux/netfilter/nf_conntrack_common.h): the connection is in the
// table, as it is not yet while its first packet passes.
const ctConfirmed = 1 << 3

// meterTimeout is how long a silent source is remembered where it expires.
const meterTimeout = time.Minute

// firstPacket matches the first packet of a connection.
func firstPacket() []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: reg, Key: expr.CtKeySTATUS},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(ctConfirmed), Xor: make([]byte, 4)},
		eq(make([]byte, 4)),
	}
}

// over matches while the packet's source is over the limit, and counts the packet. Without a family
// the source is a hardware address.
func over(f policyroute.Family, o policyroute.Over) []expr.Any {
	d := &expr.Dynset{SrcRegKey: reg, SetName: o.Meter, Operation: unix.NFT_DYNSET_OP_ADD,
		Exprs: []expr.Any{&expr.Connlimit{Count: o.Conns, Flags: expr.NFT_CONNLIMIT_F_INV}}}
	if o.Rate != 0 {
		d.Operation = unix.NFT_DYNSET_OP_UPDATE
		d.Exprs = []expr.Any{&expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(o.Rate),
			Over: true, Unit: expr.LimitTimeSecond, Burst: o.Burst()}}
	}
	if f == 0 {
		return append(fromEther(), d)
	}
	return []expr.Any{addressField(f, offSaddr4, offSaddr6), d}
}

// over reads such a match, whose address was loaded before.
func (d *decoder) over() bool {
	x := take[*expr.Dynset](d)
	if len(x.Exprs) != 1 {
		return false
	}
	d.rule.Over = policyroute.Over{Meter: x.SetName}
	switch e := x.Exprs[0].(type) {
	case *expr.Connlimit:
		d.rule.Over.Conns = e.Count
	case *expr.Limit:
		d.rule.Over.Rate = uint32(e.Rate)
	default:
		return false
	}
	match := over(d.rule.Family, d.rule.Over)
	return sameExpr(x, match[len(match)-1])
}

func meterSet(table *nftables.Table, m policyroute.Meter) *nftables.Set {
	set := &nftables.Set{Table: table, Name: m.Name, Dynamic: true, Size: policyroute.MeterSize,
		KeyType: nftables.TypeIPAddr}
	switch m.Family {
	case policyroute.V6:
		set.KeyType = nftables.TypeIP6Addr
	case 0:
		set.KeyType = nftables.TypeEtherAddr
	}
	if m.Expires {
		set.HasTimeout, set.Timeout = true, meterTimeout
	}
	return set
}

// meter reads a set that a rule fills.
func meter(s *nftables.Set) policyroute.Meter {
	m := policyroute.Meter{Name: s.Name, Family: policyroute.V4, Expires: s.HasTimeout}
	switch s.KeyType.Bytes {
	case nftables.TypeIP6Addr.Bytes:
		m.Family = policyroute.V6
	case nftables.TypeEtherAddr.Bytes:
		m.Family = 0
	}
	if s.Size != policyroute.MeterSize {
		m.Name += " (foreign)"
	}
	return m
}

// canMeter reports whether the kernel can count connections by source: not every one has the
// module. It asks by a table that ends in the transaction that makes it.
func (n nft) canMeter() bool {
	conn, err := n.dial()
	if err != nil {
		return false
	}
	defer conn.CloseLasting()
	table := conn.AddTable(&nftables.Table{Name: policyroute.NftTable + "-can",
		Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Name: "count", Table: table})
	for _, m := range []policyroute.Meter{{Name: "conns", Family: policyroute.V4},
		{Name: "rate", Family: policyroute.V4, Expires: true}} {
		set := meterSet(table, m)
		if err := conn.AddSet(set, nil); err != nil {
			return false
		}
		limit := policyroute.Over{Meter: m.Name, Conns: 1}
		if m.Expires {
			limit = policyroute.Over{Meter: m.Name, Rate: 1}
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain,
			Exprs: slices.Concat(nfproto(policyroute.V4), firstPacket(),
				over(policyroute.V4, limit))})
	}
	conn.DelTable(table)
	return conn.Flush() == nil
}

// conntrackMax returns how many connections the host follows at most. It is 0 if that is unknown or
// connections cannot be counted by source.
func (k *Kernel) conntrackMax() int {
	k.meters.Do(func() { k.canMeter = k.nft.canMeter() })
	if !k.canMeter {
		return 0
	}
	return readNumber("net/netfilter/nf_conntrack_max")
}

func addMeters(conn *nftables.Conn, table *nftables.Table, meters []policyroute.Meter) error {
	var errs []error
	for _, m := range meters {
		if err := conn.AddSet(meterSet(table, m), nil); err != nil {
			errs = append(errs, fmt.Errorf("set %s: %w", m.Name, err))
		}
	}
	return errors.Join(errs...)
}
