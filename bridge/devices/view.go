package devices

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// resolveTime is how long a member may take to answer who has an address.
const resolveTime = 2 * time.Second

// View is what a pass decided and put in force. It is immutable, for readers in any goroutine.
type View struct {
	Kernel  Neighbours
	Config  *config.Config
	Snap    decide.Snapshot
	Applied policyroute.Intent                // what the kernel holds
	why     map[string]string                 // by name of rule: why its choice fell as it did
	off     []config.Rule                     // that are not in force
	Clients map[netip.Addr]string             // names of the endpoint's clients
	bound   map[policyroute.Binding]time.Time // since when each address is bound to its owner
}

// NewView returns what a pass put in force: the decision that the kernel holds.
func NewView(k Neighbours, cfg *config.Config, s decide.Snapshot, held decide.Decision) *View {
	v := &View{Kernel: k, Config: cfg, Snap: s, Applied: held.Intent,
		Clients: map[netip.Addr]string{}, why: map[string]string{},
		bound: map[policyroute.Binding]time.Time{}}
	for name, addrs := range s.Clients {
		for _, a := range addrs {
			v.Clients[a] = name
		}
	}
	for _, r := range cfg.Policy {
		v.why[r.Name] = held.Choices[decide.NewEgressList(r.Egress)].Why
		if !held.InForce(r) {
			v.off = append(v.off, r)
		}
	}
	for _, g := range held.Intent.Ingresses {
		for _, b := range g.Bound {
			v.bound[b] = time.Now()
		}
	}
	return v
}

// Explain says what becomes of packets from an address.
func (v *View) Explain(addr netip.Addr) (api.Explanation, error) {
	return decide.Explainer{Intent: v.Applied, Host: v.Snap.Host, Clients: v.Clients,
		Why: v.why, Off: v.off}.Explain(addr)
}

// KeepBound notes which addresses were bound before, and since when. It is called once, before the
// view is shared.
func (v *View) KeepBound(before *View) {
	for b := range v.bound {
		if since, ok := before.bound[b]; ok {
			v.bound[b] = since
		}
	}
}

// Identify returns which device sends from an address by an interface. bound reports whether nobody
// else can, and since says since when: what was opened before may be somebody else's. It fails with
// api.ErrUnvouched where nothing vouches for the sender, as behind an interface that is no ZeroTier
// network's: there, whoever likes takes a neighbour's IP address, and its hardware address as well.
func (v *View) Identify(ctx context.Context, iface string,
	remote netip.Addr) (device decide.Device, since time.Time, bound bool, err error) {
	for _, l := range v.Snap.Listeners {
		name, known := v.Clients[remote]
		// OpenVPN lets each client send from its own addresses alone.
		if l.Device == iface && known && slices.ContainsFunc(l.Pool.Prefixes(),
			func(q netip.Prefix) bool { return q.Contains(remote) }) {
			return decide.Device{Client: name}, since, true, nil
		}
	}
	for _, n := range v.Config.ZeroTier.Networks {
		if st := decide.NetworkOf(v.Config, v.Snap, n.ID); st.Iface == iface {
			return v.member(ctx, st, remote)
		}
	}
	return device, since, false, fmt.Errorf("%s by %s: %w", remote, iface, api.ErrUnvouched)
}

// member returns which member of a network sends from an address.
func (v *View) member(ctx context.Context, n zerotier.NetworkStatus,
	remote netip.Addr) (device decide.Device, since time.Time, bound bool, err error) {
	device.Network = n.ID.String()
	list, err := v.Kernel.Neighbours(n.Iface)
	if err != nil {
		return device, since, false, err
	}
	for _, known := range list {
		if node, ok := zerotier.NodeOf(n.ID, known.MAC); ok && known.Addr == remote {
			device.Member = node
		}
	}
	if err := v.vouch(ctx, n, device, remote); err != nil {
		return device, since, false, err
	}
	since, bound = v.bound[policyroute.Binding{Prefix: device.Prefix(remote),
		MAC: zerotier.MAC(n.ID, device.Member).String()}]
	return device, since, bound, nil
}

// News reports whether an entry of the neighbour table is another address of a device that chose an
// exit, which the next pass would add to those that follow the choice. An address that is known as
// some device's is none, nor is one of a device that is met at more addresses than are kept.
func (v *View) News(n kernel.Neighbour) bool {
	news := false
	for _, s := range v.Snap.Devices {
		id, err := zerotier.ParseNetworkID(s.Network)
		if err != nil {
			continue
		}
		if s.Has(n.Addr) {
			return false
		}
		node, ok := zerotier.NodeOf(id, n.MAC)
		news = news || ok && node == s.Member && s.Egress != "" && len(s.Addrs) < maxAddrs
	}
	return news
}

// vouch returns an error unless a member is the one that an address belongs to, as far as can be
// known: no other has it by the ids, by the box's own controller, or by what was known before.
func (v *View) vouch(ctx context.Context, n zerotier.NetworkStatus,
	device decide.Device, a netip.Addr) error {
	refuse := func(why string) error {
		return fmt.Errorf("%s in network %s: %s: %w", a, n.ID, why, api.ErrUnvouched)
	}
	if device.Member == 0 {
		return refuse("no member's hardware address goes with it")
	}
	if a.IsLinkLocalUnicast() {
		return refuse("each link has such an address")
	}
	for _, s := range v.Snap.Devices {
		if s.Network == device.Network && s.Has(a) && s.Member != device.Member {
			return refuse("it is known as the address of " + s.Member.String())
		}
	}
	if slices.Contains(certain(device, n), a) ||
		zerotier.SixPlaneMember(n.ID, device.Member).Contains(a) {
		return nil
	}
	for _, p := range []netip.Prefix{zerotier.RFC4193(n.ID, device.Member),
		zerotier.SixPlane(n.ID, device.Member)} {
		if p.Masked().Contains(a) {
			return refuse("it belongs to another member")
		}
	}
	if n.ID.Controller() != v.Snap.ZeroTier.NodeAddress {
		return nil // its controller cannot be asked: who has it first has it
	}
	given, err := assigned(ctx, v.Config, n.ID, device.Member)
	if errors.Is(err, zerotier.ErrNotFound) { // a bridge's hosts may have any hardware address
		return refuse("the network's controller knows no member " + device.String())
	}
	if err == nil && !slices.Contains(given, a) {
		err = refuse("the network's controller gave it to another member")
	}
	return err
}

// assigned returns the addresses that the box's own controller gave a member.
func assigned(ctx context.Context, cfg *config.Config, id zerotier.NetworkID,
	member zerotier.Address) ([]netip.Addr, error) {
	var answer struct {
		Addresses []netip.Addr `json:"ipAssignments"`
	}
	err := zerotier.NewLocal(cfg.ZeroTier.Home).Do(ctx, http.MethodGet,
		fmt.Sprintf("/controller/network/%s/member/%s", id, member), nil, &answer)
	return answer.Addresses, err
}

// Identity describes a device.
func (v *View) Identity(device decide.Device) api.Identity {
	state := v.state(device)
	out := api.Identity{Kind: device.Kind(), ID: device.String(), Network: device.Network,
		Name: state.Title(), Offers: decide.Offers(v.Config, v.Snap, state), Choice: state.Egress}
	if out.Offers == nil {
		out.Offers = []string{}
	}
	_, out.Egress, out.Egress6 = decide.DeviceExits(v.Config, v.Snap, v.Applied, state)
	return out
}

// state returns what is known of a device.
func (v *View) state(device decide.Device) decide.DeviceState {
	for _, s := range v.Snap.Devices {
		if s.Device == device {
			return s
		}
	}
	return decide.DeviceState{Device: device}
}

// Resolve returns the device that a person means: by an address, a member's ZeroTier address, or a
// name.
func (v *View) Resolve(ctx context.Context, who string) (decide.Device, error) {
	if _, ok := v.Snap.Clients[who]; ok {
		return decide.Device{Client: who}, nil
	}
	if a, err := netip.ParseAddr(who); err == nil {
		return v.behind(ctx, a.Unmap())
	}
	for _, s := range v.Snap.Devices {
		if s.Name == who || s.String() == strings.ToLower(who) {
			return s.Device, nil
		}
	}
	node, err := zerotier.ParseAddress(who)
	if err != nil {
		return decide.Device{}, &api.HintedError{
			Err: fmt.Errorf("there is no device %q: %w", who, api.ErrNotFound),
			Hint: "give its IP address, its 10-digit ZeroTier address (ztbridge network " +
				"members), or the name of a client of the endpoint"}
	}
	networks := v.Config.ZeroTier.Networks
	if len(networks) != 1 {
		return decide.Device{}, &api.HintedError{
			Err:  fmt.Errorf("%s may be in each of %d networks", node, len(networks)),
			Hint: "give the IP address that it has in the one that you mean"}
	}
	return decide.Device{Network: networks[0].ID, Member: node}, nil
}

// behind returns the device that has an address behind an ingress. It asks a network's members who
// has it if that is not known.
func (v *View) behind(ctx context.Context, a netip.Addr) (decide.Device, error) {
	if name, ok := v.Clients[a]; ok {
		return decide.Device{Client: name}, nil
	}
	for _, s := range v.Snap.Devices {
		if s.Has(a) || s.Addr == a {
			return s.Device, nil
		}
	}
	ingress := decide.IngressOf(v.Applied, a)
	for _, n := range v.Config.ZeroTier.Networks {
		if n.Name == ingress {
			return v.whoHas(ctx, decide.NetworkOf(v.Config, v.Snap, n.ID), a)
		}
	}
	for _, i := range v.Config.Interfaces {
		if i.Name == ingress {
			return decide.Device{Addr: a}, nil
		}
	}
	return decide.Device{}, &api.HintedError{
		Err:  fmt.Errorf("%s is no device's: %w", a, api.ErrNotFound),
		Hint: "ztbridge status lists the ingresses and their addresses"}
}

// whoHas returns the member that answers for an address. It waits for the answer.
func (v *View) whoHas(ctx context.Context, n zerotier.NetworkStatus,
	a netip.Addr) (decide.Device, error) {
	waiting, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	for asked := false; ; asked = true {
		list, err := v.Kernel.Neighbours(n.Iface)
		if err != nil {
			return decide.Device{}, err
		}
		for _, known := range list {
			if node, ok := zerotier.NodeOf(n.ID, known.MAC); ok && known.Addr == a {
				device := decide.Device{Network: n.ID.String(), Member: node}
				return device, v.vouch(ctx, n, device, a)
			}
		}
		if !asked {
			poke(waiting, a)
		}
		select {
		case <-waiting.Done():
			return decide.Device{}, &api.HintedError{
				Err: fmt.Errorf("no member answers for %s: %w", a, api.ErrNotFound),
				Hint: "is the device on and in the network? Or give its 10-digit ZeroTier " +
					"address (ztbridge network members)"}
		case <-time.After(resolveTime / 20):
		}
	}
}

// poke sends a member a packet that means nothing, so that the kernel asks who has its address.
func poke(ctx context.Context, a netip.Addr) {
	const discard = "9" // RFC 863
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(a.String(), discard))
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte{0})
}
