package controller

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/zerotier"
)

// Kind names a kind of controller.
type Kind string

// The kinds of controllers.
const (
	// CentralV1 is ZeroTier Central's older API, of accounts at my.zerotier.com.
	CentralV1 Kind = "central-v1"
	// CentralV2 is the API of the newer Central at central.zerotier.com.
	CentralV2 Kind = "central-v2"
	// OnBox is the controller inside the box's own zerotier-one.
	OnBox Kind = "local"
)

// Client changes networks at one controller. Its methods block, wait when the controller asks for
// that, and fail with the errors of this package.
type Client interface {
	Kind() Kind
	// Networks returns the networks that the token may read.
	Networks(ctx context.Context) ([]Network, error)
	Network(ctx context.Context, id zerotier.NetworkID) (Network, error)
	// Create makes a private network, whose name may be another one than name. It is the only
	// request that is not idempotent.
	Create(ctx context.Context, name string) (Network, error)
	Delete(ctx context.Context, id zerotier.NetworkID) error
	// Update sends those settings in which after differs from before.
	Update(ctx context.Context, before, after Network) error
	Members(ctx context.Context, id zerotier.NetworkID) ([]Member, error)
	// SetMember sends that in which after differs from before. A member that the controller does
	// not know yet is added.
	SetMember(ctx context.Context, id zerotier.NetworkID, before, after Member) error
	// Forget removes a member that is not authorised.
	Forget(ctx context.Context, id zerotier.NetworkID, member zerotier.Address) error
}

// Network holds the settings of a network that setup reads or changes.
type Network struct {
	ID      zerotier.NetworkID
	Name    string
	Private bool
	Routes  []Route
	Pools   []Pool
	// AssignV4 lets the controller hand out IPv4 addresses, those given by hand included.
	AssignV4 bool
	V6       V6Modes
	DNS      DNS
	// DNSIsFinal reports whether the controller cannot unset DNS once it was set.
	DNSIsFinal bool
}

// Route is a managed route.
type Route struct {
	Target netip.Prefix `json:"target"`
	Via    netip.Addr   `json:"via"` // the zero Addr: on the link
	// raw is the route as the controller wrote it, sent back as it is; nil for one of ours.
	raw json.RawMessage
}

func (r Route) same(o Route) bool { return r.Target == o.Target && r.Via == o.Via }

func (r Route) isDefault() bool { return r.Target.Bits() == 0 }

func (r Route) onLink() bool { return !r.Via.IsValid() && !r.isDefault() }

func (r Route) String() string {
	if r.Via.IsValid() {
		return r.Target.String() + " via " + r.Via.String()
	}
	return r.Target.String()
}

// Pool is a range of addresses that the controller hands out.
type Pool struct {
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`

	raw json.RawMessage // as in Route
}

func (p Pool) same(o Pool) bool { return p.First == o.First && p.Last == o.Last }

// V6Modes are the ways in which members get IPv6 addresses.
type V6Modes struct {
	Pools    bool `json:"pools,omitempty"` // "zt": from the pools, and by hand
	RFC4193  bool `json:"rfc4193,omitempty"`
	SixPlane bool `json:"6plane,omitempty"`
}

// DNS is what members that allow it use as resolvers.
type DNS struct {
	Domain  string       `json:"domain"`
	Servers []netip.Addr `json:"servers"`
}

func (d DNS) same(o DNS) bool {
	return d.Domain == o.Domain && slices.Equal(d.Servers, o.Servers)
}

// Member is a device in a network.
type Member struct {
	Address    zerotier.Address
	Name       string
	Authorized bool
	Addrs      []netip.Addr // as assigned by the controller or by hand
	LastSeen   time.Time    // zero: the controller does not tell, or never
}

func (m Member) clone() Member {
	m.Addrs = slices.Clone(m.Addrs)
	return m
}

func (n Network) clone() Network {
	n.Routes, n.Pools = slices.Clone(n.Routes), slices.Clone(n.Pools)
	n.DNS.Servers = slices.Clone(n.DNS.Servers)
	return n
}

// find returns the member with an address, or one that the controller does not know yet.
func find(members []Member, a zerotier.Address) (m Member, known bool) {
	i := slices.IndexFunc(members, func(m Member) bool { return m.Address == a })
	if i < 0 {
		return Member{Address: a}, false
	}
	return members[i].clone(), true
}
