package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/network"
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
			s, err := p.openNetwork(cmd.Context(), o)
			if err != nil {
				return err
			}
			st, err := s.Status(cmd.Context())
			if err != nil {
				return err
			}
			p.printPlan(st.Title, st.Plan)
			for _, added := range st.Added {
				fmt.Fprintf(p.out, "  set up by ztbridge: %s\n", added)
			}
			if !st.Plan.Empty() {
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
		Short: "Remove what setup added to the network",
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
	plan, err := s.PlanTeardown(ctx)
	if errors.Is(err, network.ErrNothingAdded) || errors.Is(err, network.ErrGone) {
		p.say("%s", err)
		return nil
	}
	if err != nil {
		return err
	}
	p.printPlan(plan.Title, plan.Plan)
	if !yes {
		return p.planned(plan.Plan.Empty(), "teardown")
	}
	id, err := plan.Apply(ctx)
	if err != nil {
		return err
	}
	p.say("what setup added to network %s is taken back; %s still names it", id, p.configPath)
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
			members, err := s.Members(ctx)
			if err != nil {
				return err
			}
			rows := [][]string{{"MEMBER", "NAME", "ADDRESSES", "AUTHORISED", "LAST SEEN",
				"EXIT NOW"}}
			for _, m := range members {
				if m.Address == s.Self() && m.Name == "" {
					m.Name = "(this box)"
				}
				rows = append(rows, []string{m.Address.String(), cmp.Or(m.Name, "-"),
					cmp.Or(words(m.Addrs), "-"), yesNo(m.Authorized), lastSeen(m.LastSeen),
					p.exitOf(ctx, s.Self(), m)})
			}
			return p.table(rows)
		},
	}
}

// exitOf returns the egress that a member's traffic takes now, as the daemon explains it.
func (p *program) exitOf(ctx context.Context, self zerotier.Address, m controller.Member) string {
	if !m.Authorized || m.Address == self || len(m.Addrs) == 0 {
		return "-"
	}
	e, err := p.daemon().Explain(ctx, m.Addrs[0])
	if err != nil {
		return "-"
	}
	return cmp.Or(e.Egress, "blocked")
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
		cmd.Use, cmd.Short = "deauthorize NAME|ADDRESS", "Take a member's authorisation away"
	}
	return cmd
}

func (p *program) authorize(ctx context.Context, o *networkOptions, who string, yes bool) error {
	s, err := p.openNetwork(ctx, o)
	if err != nil {
		return err
	}
	address, err := s.Authorize(ctx, who, yes)
	if err != nil {
		return err
	}
	if yes {
		p.say("%s is authorised", address)
	} else {
		p.say("%s is not authorised any more; its traffic ends within seconds", address)
	}
	return nil
}
