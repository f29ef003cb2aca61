package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

// newNetworkName is what setup calls a network that it makes.
const newNetworkName = "ztbridge"

// setupOptions are the flags of `ztbridge network setup`.
type setupOptions struct {
	*networkOptions
	yes, takeOver, noIPv6 bool
	makeNew               string
}

func (p *program) networkSetup(shared *networkOptions) *cobra.Command {
	o := &setupOptions{networkOptions: shared}
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Let the members of the network leave by this box",
		Long: `Print what is missing at the network's controller so that members leave by this box:
the box's authorisation and fixed address, the default routes by it, the members'
IPv6 addresses and DNS. With --yes, change it, read it back, and compare.

What a person set stays as it is. A second run finishes what an interrupted one left,
and changes nothing otherwise. Where no network is configured, one is made.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.setup(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.yes, "yes", false, "carry the plan out")
	cmd.Flags().StringVar(&o.makeNew, "new", "", "make a new network of this `name`")
	cmd.Flags().BoolVar(&o.takeOver, "take-over", false,
		"replace a default route that leads to another member")
	cmd.Flags().BoolVar(&o.noIPv6, "no-ipv6", false, "leave the members' IPv6 alone")
	return cmd
}

func (p *program) setup(ctx context.Context, o *setupOptions) error {
	s, err := p.openNetwork(ctx, o.networkOptions)
	if err != nil {
		return err
	}
	if s.client == nil {
		return p.showSteps(ctx, o, s)
	}
	n, isMade, err := s.findNetwork(ctx, o)
	if err != nil {
		return hintNetwork(err)
	}
	plan, err := p.planSetup(ctx, o, s, n, isMade)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%s at %s\n", networkTitle(n), where(s.client))
	p.printPlan(plan)
	if !o.yes {
		return p.planned(plan, n.ID == 0, "setup")
	}
	if n.ID == 0 || s.records.Making != nil {
		if n, err = s.makeNetwork(ctx, n); err != nil {
			return hintNetwork(err)
		}
		if plan, err = p.planSetup(ctx, o, s, n, true); err != nil {
			return err
		}
		fmt.Fprintf(p.out, "+ made %s\n", networkTitle(n))
	}
	if err := p.apply(ctx, s, plan, isMade); err != nil {
		return hintNetwork(err)
	}
	if n, err = s.client.Network(ctx, n.ID); err != nil {
		return hintNetwork(err)
	}
	again, err := p.planSetup(ctx, o, s, n, isMade)
	if err == nil {
		err = hintNetwork(controller.Verify(again))
	}
	if err != nil {
		return err
	}
	return p.configure(ctx, n.ID)
}

// findNetwork returns the network to set up: the configured one, one that an interrupted run made,
// or one to be made, whose id is zero. made reports whether setup makes or made it.
func (s *networkSession) findNetwork(ctx context.Context,
	o *setupOptions) (n controller.Network, made bool, err error) {
	if s.id != 0 && o.makeNew == "" {
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
	if o.makeNew != "" {
		fresh.Name = o.makeNew
		return fresh, true, nil
	}
	if len(there) == 0 {
		return fresh, true, nil
	}
	var list []string
	for _, n := range there {
		list = append(list, networkTitle(n))
	}
	return n, false, &api.HintedError{
		Err: fmt.Errorf("no network is configured, and the controller has some: %s",
			strings.Join(list, ", ")),
		Hint: "use one of them: --network ID; or make another one: --new NAME"}
}

// makeNetwork makes a network if n has no id yet, and names it. What it notes first lets the next
// run go on if this one is interrupted.
func (s *networkSession) makeNetwork(ctx context.Context,
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

func networkTitle(n controller.Network) string {
	if n.ID == 0 {
		return fmt.Sprintf("New network %q", n.Name)
	}
	return fmt.Sprintf("Network %s %q", n.ID, n.Name)
}

func (p *program) planSetup(ctx context.Context, o *setupOptions, s *networkSession,
	n controller.Network, isMade bool) (plan controller.Plan, err error) {
	var members []controller.Member
	if n.ID != 0 {
		if members, err = s.client.Members(ctx, n.ID); err != nil {
			return plan, hintNetwork(err)
		}
	}
	want := controller.Wanted{Self: s.self, IPv6: !o.noIPv6, TakeOver: o.takeOver, New: isMade}
	p.addBox(&want, n.ID)
	plan, err = controller.PlanSetup(n, members, want)
	if errors.Is(err, controller.ErrConflict) {
		err = &api.HintedError{Err: err, Hint: "if members shall leave by this box instead: " +
			"ztbridge network setup --take-over"}
	}
	return plan, err
}

// addBox fills in what follows from the box: its public IPv6 prefix for members, and the prefixes
// that a new network must not overlap.
func (p *program) addBox(want *controller.Wanted, id zerotier.NetworkID) {
	if cfg, _, err := config.Load(p.configPath, p.overrides); err == nil {
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

func (p *program) printPlan(plan controller.Plan) {
	for _, line := range plan.Lines() {
		fmt.Fprintln(p.out, line)
	}
	for _, note := range plan.Notes {
		p.say("note: %s", note)
	}
}

// planned says what a plan that was only printed means.
func (p *program) planned(plan controller.Plan, always bool, verb string) error {
	if plan.Empty() && !always {
		p.say("nothing has to be changed")
		return nil
	}
	p.say("nothing was changed yet")
	p.say("hint: carry this plan out: ztbridge network %s --yes", verb)
	return nil
}

// apply notes a plan, carries it out, and says so.
func (p *program) apply(ctx context.Context, s *networkSession, plan controller.Plan,
	isMade bool) error {
	if plan.Empty() {
		return nil
	}
	if err := s.records.Note(s.client.Kind(), plan, isMade); err != nil {
		return err
	}
	if err := controller.Apply(ctx, s.client, plan); err != nil {
		return fmt.Errorf("the plan is carried out in part; the same command finishes it: %w", err)
	}
	return nil
}

// configure writes the network into the configuration and lets a running daemon join it.
func (p *program) configure(ctx context.Context, id zerotier.NetworkID) error {
	changed, err := config.AddNetwork(p.configPath, id.String())
	if err != nil && !errors.Is(err, config.ErrByHand) {
		return err
	}
	p.say("network %s is set up", id)
	if err != nil {
		p.say("hint: the configuration does not name it: add it under `zerotier: networks:` in %s",
			p.configPath)
	}
	if changed {
		p.say("%s names it now", p.configPath)
		switch err := p.daemon().Reload(ctx); {
		case errors.Is(err, api.ErrNotRunning):
			p.say("hint: start the box: systemctl enable --now ztbridge-guard ztbridge")
		case err != nil:
			return fmt.Errorf("making the daemon read its configuration again: %w", err)
		}
	}
	p.say("hint: let members in: ztbridge network members, then ztbridge network authorize " +
		"ADDRESS; on each of them allow the default route: ztbridge doctor --member")
	return nil
}

// showSteps prints the plan as steps for Central's web page, from what the box's own membership
// tells.
func (p *program) showSteps(ctx context.Context, o *setupOptions, s *networkSession) error {
	n := controller.Network{ID: s.id, Private: true, AssignV4: true}
	box := controller.Member{Address: s.self}
	m, err := s.local.Membership(ctx, s.id)
	if err != nil && !errors.Is(err, zerotier.ErrNotFound) {
		return err
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
	want := controller.Wanted{Self: s.self, IPv6: !o.noIPv6, TakeOver: true}
	p.addBox(&want, s.id)
	plan, err := controller.PlanSetup(n, []controller.Member{box}, want)
	if err != nil {
		return err
	}
	for i, step := range controller.Steps(plan) {
		fmt.Fprintf(p.out, "%d. %s\n", i+1, step)
	}
	p.say("there is no API token: these are the steps for the web page of ZeroTier Central")
	p.say("hint: with a token it is done for you: ztbridge network setup --token-file FILE")
	return nil
}
