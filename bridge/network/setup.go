package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

// newNetworkName is what setup calls a network that it makes.
const newNetworkName = "ztbridge"

// SetupOptions say what setup may do.
type SetupOptions struct {
	New      string // make a new network of this name; empty: only if there is none
	TakeOver bool   // replace a default route that leads to another member
	NoIPv6   bool   // leave the members' IPv6 alone
}

// Setup is what a network lacks so that members leave by the box.
type Setup struct {
	Title string // the network, and where its controller is
	Plan  controller.Plan

	session *Session
	options SetupOptions
	isMade  bool // setup makes the network, or an earlier run made it
}

// PlanSetup returns what the network lacks, and changes nothing. It needs a controller.
func (s *Session) PlanSetup(ctx context.Context, o SetupOptions) (*Setup, error) {
	if s.client == nil {
		return nil, errNoToken
	}
	n, isMade, err := s.findNetwork(ctx, o)
	if err != nil {
		return nil, hinted(err)
	}
	setup := &Setup{Title: s.title(n), session: s, options: o, isMade: isMade}
	setup.Plan, err = s.planSetup(ctx, o, n, isMade)
	return setup, err
}

// Makes reports whether Apply makes a network.
func (u *Setup) Makes() bool { return u.Plan.Network.ID == 0 }

// Result is what Setup.Apply did.
type Result struct {
	Network zerotier.NetworkID
	Made    string // names the network that was made; empty: none was
	// Configured reports whether the network was written into the configuration: the daemon has to
	// read it again.
	Configured bool
	// ByHand reports whether a person has to write it there.
	ByHand bool
}

// Apply carries the plan out, reads back, compares, and writes the network into the configuration.
// It can be repeated: after an interruption a new PlanSetup holds what is left.
func (u *Setup) Apply(ctx context.Context) (Result, error) {
	s, n, plan := u.session, u.Plan.Network, u.Plan
	var out Result
	var err error
	if n.ID == 0 || s.records.Making != nil {
		if n, err = s.makeNetwork(ctx, n); err != nil {
			return out, hinted(err)
		}
		if plan, err = s.planSetup(ctx, u.options, n, true); err != nil {
			return out, err
		}
		out.Made = networkTitle(n)
	}
	if err := s.apply(ctx, plan, u.isMade); err != nil {
		return out, hinted(err)
	}
	if n, err = s.client.Network(ctx, n.ID); err != nil {
		return out, hinted(err)
	}
	again, err := s.planSetup(ctx, u.options, n, u.isMade)
	if err == nil {
		err = hinted(controller.Verify(again))
	}
	if err != nil {
		return out, err
	}
	out.Network = n.ID
	out.Configured, err = s.configure(ctx, n.ID.String())
	if errors.Is(err, config.ErrByHand) {
		out.ByHand, err = true, nil
	}
	return out, err
}

func (s *Session) configure(ctx context.Context, id string) (changed bool, err error) {
	if s.options.Configure != nil {
		return s.options.Configure(ctx, id)
	}
	return config.AddNetwork(s.options.ConfigPath, id)
}

// ChooseError is returned by PlanSetup where no network is configured, and the controller has some.
type ChooseError struct{ Networks []controller.Network }

func (e *ChooseError) Error() string {
	var list []string
	for _, n := range e.Networks {
		list = append(list, networkTitle(n))
	}
	return "no network is configured, and the controller has some: " + strings.Join(list, ", ")
}

// findNetwork returns the network to set up: the configured one, one that an interrupted run made,
// or one to be made, whose id is zero. made reports whether setup makes or made it.
func (s *Session) findNetwork(ctx context.Context,
	o SetupOptions) (n controller.Network, made bool, err error) {
	if s.id != 0 && o.New == "" {
		s.records.Making = nil // it was about another one
		rec, _ := s.records.Of(s.id)
		n, err = s.client.Network(ctx, s.id)
		return n, rec.Made, err
	}
	there, err := s.client.Networks(ctx)
	if err != nil {
		return n, false, err
	}
	if n, ok := s.records.Unfinished(s.client.Kind(), there); ok {
		return n, true, nil
	}
	s.records.Making = nil
	fresh := controller.Network{Name: newNetworkName, Private: true}
	if o.New != "" {
		fresh.Name = o.New
		return fresh, true, nil
	}
	if len(there) == 0 {
		return fresh, true, nil
	}
	return n, false, &api.HintedError{
		Err:  &ChooseError{there},
		Hint: "use one of them: --network ID; or make another one: --new NAME"}
}

// makeNetwork makes a network if n has no id yet, and names it. What it notes first lets the next
// run go on if this one is interrupted.
func (s *Session) makeNetwork(ctx context.Context,
	n controller.Network) (controller.Network, error) {
	if n.ID == 0 {
		there, err := s.client.Networks(ctx)
		if err == nil {
			err = s.records.NoteMaking(s.client.Kind(), n.Name, there)
		}
		if err == nil {
			n, err = s.client.Create(ctx, n.Name)
		}
		if err != nil {
			return n, err
		}
	}
	named := n
	if named.Name = s.records.Making.Name; named.Name == n.Name {
		return n, nil
	}
	return named, s.client.Update(ctx, n, named)
}

func (s *Session) planSetup(ctx context.Context, o SetupOptions, n controller.Network,
	isMade bool) (plan controller.Plan, err error) {
	var members []controller.Member
	if n.ID != 0 {
		if members, err = s.client.Members(ctx, n.ID); err != nil {
			return plan, hinted(err)
		}
	}
	want := controller.Wanted{Self: s.self, IPv6: !o.NoIPv6, TakeOver: o.TakeOver, New: isMade}
	s.addBox(&want, n.ID)
	plan, err = controller.PlanSetup(n, members, want)
	if errors.Is(err, controller.ErrConflict) {
		err = &api.HintedError{Err: err, Hint: "if members shall leave by this box instead: " +
			"ztbridge network setup --take-over"}
	}
	return plan, hinted(err)
}

// addBox fills in what follows from the box: its public IPv6 prefix for members, and the prefixes
// that a new network must not overlap.
func (s *Session) addBox(want *controller.Wanted, id zerotier.NetworkID) {
	if cfg, _, err := config.Load(s.options.ConfigPath, s.options.Overrides); err == nil {
		for _, e := range cfg.Egresses {
			if e.WAN != nil && e.WAN.IPv6.Prefix.IsValid() {
				want.Prefix6 = e.WAN.IPv6.Prefix
			}
		}
		if cfg.Endpoint != nil {
			want.Avoid = append(want.Avoid, cfg.Endpoint.Pool4)
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		return // only the choice of a new subnet is less careful then
	}
	for _, l := range links {
		list, err := l.Addrs()
		if err != nil || l.Name == id.Iface() {
			continue
		}
		for _, a := range list {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				want.Avoid = append(want.Avoid, prefix)
			}
		}
	}
}

// apply notes a plan, then carries it out.
func (s *Session) apply(ctx context.Context, plan controller.Plan, isMade bool) error {
	if plan.Empty() {
		return nil
	}
	if err := s.records.Note(s.client.Kind(), plan, isMade); err != nil {
		return err
	}
	return inPart(controller.Apply(ctx, s.client, plan))
}

func inPart(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the plan is carried out in part; the same command finishes it: %w", err)
}

// Steps returns the plan as steps for Central's web page, one each, from what the box's own
// membership tells. It needs no controller.
func (s *Session) Steps(ctx context.Context, o SetupOptions) ([]string, error) {
	n := controller.Network{ID: s.id, Private: true, AssignV4: true}
	box := controller.Member{Address: s.self}
	m, err := s.local.Membership(ctx, s.id)
	if err != nil && !errors.Is(err, zerotier.ErrNotFound) {
		return nil, err
	}
	box.Authorized = m.Authorised
	for _, r := range m.Routes {
		n.Routes = append(n.Routes, controller.Route{Target: r.Target, Via: r.Via})
	}
	for _, a := range m.Addrs {
		box.Addrs = append(box.Addrs, a.Addr())
		n.V6.RFC4193 = n.V6.RFC4193 || a == zerotier.RFC4193(s.id, s.self)
		n.V6.SixPlane = n.V6.SixPlane || a == zerotier.SixPlane(s.id, s.self)
	}
	want := controller.Wanted{Self: s.self, IPv6: !o.NoIPv6, TakeOver: true}
	s.addBox(&want, s.id)
	plan, err := controller.PlanSetup(n, []controller.Member{box}, want)
	return controller.Steps(plan), err
}
