package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

func (p *program) networkStatus(o *networkOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what the network hands to members, and what is missing",
		Long: `Show what the network's controller hands to members, and what is missing for them to
leave by this box. Exit code 3: something is missing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, err := p.openNetwork(ctx, o)
			if err != nil {
				return err
			}
			n, err := s.existing(ctx)
			if err != nil {
				return err
			}
			rec, _ := s.records.Of(n.ID)
			plan, err := p.planSetup(ctx, &setupOptions{networkOptions: o}, s, n, rec.Made)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.out, "%s at %s\n", networkTitle(n), where(s.client))
			p.printPlan(plan)
			for _, c := range rec.Changes {
				fmt.Fprintf(p.out, "  set up by ztbridge: %s\n",
					strings.TrimLeft(c.String(), "+- "))
			}
			if !plan.Empty() {
				p.say("hint: add what is missing (+): ztbridge network setup --yes")
				return errState
			}
			return nil
		},
	}
}

func (p *program) networkTeardown(o *networkOptions) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "teardown",
		Short: "Take back what setup added to the network",
		Long: `Print what setup added to the network and still stands; with --yes, take exactly that
back. What a person set or changed since stays. A network that setup made is removed
as a whole, unless other members are authorised in it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.teardown(cmd.Context(), o, yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "carry the plan out")
	return cmd
}

func (p *program) teardown(ctx context.Context, o *networkOptions, yes bool) error {
	s, err := p.openNetwork(ctx, o)
	if err != nil {
		return err
	}
	rec, ok := s.records.Of(s.id)
	if !ok {
		p.say("setup added nothing to this network")
		return nil
	}
	n, err := s.existing(ctx)
	if errors.Is(err, controller.ErrNotFound) && rec.Made {
		p.say("network %s is gone", rec.Network)
		return s.records.Drop(rec.Network)
	}
	if err != nil {
		return err
	}
	members, err := s.client.Members(ctx, n.ID)
	if err != nil {
		return hintNetwork(err)
	}
	plan := controller.PlanTeardown(n, members, rec)
	fmt.Fprintf(p.out, "%s at %s\n", networkTitle(n), where(s.client))
	p.printPlan(plan)
	if !yes {
		return p.planned(plan, false, "teardown")
	}
	if err := controller.Apply(ctx, s.client, plan); err != nil {
		return hintNetwork(fmt.Errorf(
			"the plan is carried out in part; the same command finishes it: %w", err))
	}
	if !plan.Delete {
		if n, err = s.client.Network(ctx, n.ID); err == nil {
			members, err = s.client.Members(ctx, n.ID)
		}
		if err == nil {
			again := controller.PlanTeardown(n, members, rec)
			again.Forget = false // a box that is joined asks anew, and is listed again
			err = controller.Verify(again)
		}
		if err != nil {
			return hintNetwork(err)
		}
	}
	if err := s.records.Drop(n.ID); err != nil {
		return err
	}
	p.say("what setup added to network %s is taken back; %s still names it", n.ID, p.configPath)
	return nil
}

func (p *program) networkMembers(o *networkOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "members",
		Short: "List the network's members and the exit of each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, err := p.openNetwork(ctx, o)
			if err != nil {
				return err
			}
			members, err := s.members(ctx)
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "MEMBER\tNAME\tADDRESSES\tAUTHORISED\tLAST SEEN\tEXIT NOW")
			for _, m := range members {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", m.Address, p.memberName(s, m),
					orDash(joinAddrs(m.Addrs)), yesNo(m.Authorized), lastSeen(m.LastSeen),
					p.exitOf(ctx, s, m))
			}
			return table.Flush()
		},
	}
}

// members returns the members of the session's network.
func (s *networkSession) members(ctx context.Context) ([]controller.Member, error) {
	n, err := s.existing(ctx)
	if err != nil {
		return nil, err
	}
	members, err := s.client.Members(ctx, n.ID)
	return members, hintNetwork(err)
}

func (p *program) memberName(s *networkSession, m controller.Member) string {
	if m.Address == s.self && m.Name == "" {
		return "(this box)"
	}
	return orDash(m.Name)
}

// exitOf returns the egress that a member's traffic takes now, as the daemon explains it.
func (p *program) exitOf(ctx context.Context, s *networkSession, m controller.Member) string {
	if !m.Authorized || m.Address == s.self || len(m.Addrs) == 0 {
		return "-"
	}
	e, err := p.daemon().Explain(ctx, m.Addrs[0])
	if err != nil {
		return "-"
	}
	if e.Egress == "" {
		return "blocked"
	}
	return e.Egress
}

func joinAddrs(list []netip.Addr) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func lastSeen(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return time.Since(at).Round(time.Second).String() + " ago"
}

func (p *program) networkAuthorize(o *networkOptions, yes bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "authorize NAME|ADDRESS", Short: "Let a member into the network",
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.authorize(cmd.Context(), o, args[0], yes)
		},
	}
	if !yes {
		cmd.Use, cmd.Short = "deauthorize NAME|ADDRESS", "Bar a member from the network"
	}
	return cmd
}

func (p *program) authorize(ctx context.Context, o *networkOptions, who string, yes bool) error {
	s, err := p.openNetwork(ctx, o)
	if err != nil {
		return err
	}
	members, err := s.members(ctx)
	if err != nil {
		return err
	}
	before, err := pick(members, who)
	if err != nil {
		return err
	}
	if before.Address == s.self && !yes {
		return &api.HintedError{Err: errors.New("this is the box itself"),
			Hint: "to take setup back: ztbridge network teardown"}
	}
	after := before
	after.Authorized = yes
	if after.Authorized != before.Authorized {
		if err := s.client.SetMember(ctx, s.id, before, after); err != nil {
			return hintNetwork(err)
		}
		if members, err = s.members(ctx); err != nil {
			return err
		}
		if now, err := pick(members, before.Address.String()); err != nil ||
			now.Authorized != yes {
			return hintNetwork(fmt.Errorf("reading back member %s: %w", before.Address,
				controller.ErrNotKept))
		}
	}
	if yes {
		p.say("%s is authorised", before.Address)
	} else {
		p.say("%s is not authorised any more; its traffic ends within seconds", before.Address)
	}
	return nil
}

// pick returns the member that a name or an address means. An address need not be known yet.
func pick(members []controller.Member, who string) (controller.Member, error) {
	var found []controller.Member
	for _, m := range members {
		if strings.EqualFold(m.Address.String(), who) {
			return m, nil
		}
		if m.Name == who {
			found = append(found, m)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) > 1 {
		return controller.Member{}, &api.HintedError{
			Err:  fmt.Errorf("%d members are called %q", len(found), who),
			Hint: "use the address; `ztbridge network members` lists them"}
	}
	a, err := zerotier.ParseAddress(strings.ToLower(who))
	if err != nil {
		return controller.Member{}, &api.HintedError{
			Err: fmt.Errorf("there is no member %q in this network", who),
			Hint: "`ztbridge network members` lists them; one that has not joined yet is named " +
				"by its 10-digit address"}
	}
	return controller.Member{Address: a}, nil
}
