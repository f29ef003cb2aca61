package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/network"
	"ztbridge/bridge/zerotier/controller"
)

func (p *program) networkSetup(shared *networkOptions) *cobra.Command {
	var yes bool
	var o network.SetupOptions
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Let the members of the network leave by this box",
		Long: `Print what is missing at the network's controller so that members leave by this box:
the box's authorisation and fixed address, the default routes by it, the members'
IPv6 addresses and DNS. With --yes, change it, read it back, and compare.

What a person set stays as it is. A second run finishes what an interrupted one left,
and changes nothing otherwise. Where no network is configured, one is made.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.setup(cmd.Context(), shared, o, yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "carry the plan out")
	cmd.Flags().StringVar(&o.New, "new", "", "make a new network of this `name`")
	cmd.Flags().BoolVar(&o.TakeOver, "take-over", false,
		"replace a default route that leads to another member")
	cmd.Flags().BoolVar(&o.NoIPv6, "no-ipv6", false, "leave the members' IPv6 alone")
	return cmd
}

func (p *program) setup(ctx context.Context, shared *networkOptions, o network.SetupOptions,
	yes bool) error {
	s, err := p.openNetwork(ctx, shared)
	if err != nil {
		return err
	}
	if !s.HasController() {
		return p.showSteps(ctx, s, o)
	}
	setup, err := s.PlanSetup(ctx, o)
	if err != nil {
		return err
	}
	p.printPlan(setup.Title, setup.Plan)
	if !yes {
		return p.planned(setup.Plan.Empty() && !setup.Makes(), "setup")
	}
	done, err := setup.Apply(ctx)
	if done.Made != "" {
		fmt.Fprintf(p.out, "+ made %s\n", done.Made)
	}
	if err != nil {
		return err
	}
	return p.join(ctx, done)
}

func (p *program) printPlan(title string, plan controller.Plan) {
	fmt.Fprintln(p.out, title)
	for _, line := range plan.Lines() {
		fmt.Fprintln(p.out, line)
	}
	for _, note := range plan.Notes {
		p.say("note: %s", note)
	}
}

// planned says what a plan that was only printed means.
func (p *program) planned(nothing bool, verb string) error {
	if nothing {
		p.say("nothing has to be changed")
		return nil
	}
	p.say("nothing was changed yet")
	p.say("hint: carry this plan out: ztbridge network %s --yes", verb)
	return nil
}

// join lets a running daemon join the network that was set up, and says what comes next.
func (p *program) join(ctx context.Context, done network.Result) error {
	p.say("network %s is set up", done.Network)
	if done.ByHand {
		p.say("hint: the configuration does not name it: add it under `zerotier: networks:` in %s",
			p.configPath)
	}
	if done.Configured {
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

// showSteps prints the plan as steps for Central's web page.
func (p *program) showSteps(ctx context.Context, s *network.Session, o network.SetupOptions) error {
	steps, err := s.Steps(ctx, o)
	if err != nil {
		return err
	}
	for i, step := range steps {
		fmt.Fprintf(p.out, "%d. %s\n", i+1, step)
	}
	p.say("there is no API token: these are the steps for the web page of ZeroTier Central")
	p.say("hint: with a token it is done for you: ztbridge network setup --token-file FILE")
	return nil
}
