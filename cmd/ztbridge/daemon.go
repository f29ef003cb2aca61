package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ztbridge/bridge"
	"ztbridge/bridge/api"
)

func (p *program) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground, as ztbridge.service does. SIGHUP reads the
configuration again (a bad one is refused and the old one stays in force);
SIGTERM and SIGINT end it, and leave the box closed: clients' packets are refused
until it runs again, or until ` + "`ztbridge down`" + ` takes everything away.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			options := p.options()
			options.Reload = hangups(ctx)
			return bridge.Run(ctx, options)
		},
	}
}

// hangups turns SIGHUPs into requests to reload, until ctx ends. Several that come while one is
// carried out are one request.
func hangups(ctx context.Context) <-chan struct{} {
	signals, reload := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, unix.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case <-ctx.Done():
				return
			case reload <- struct{}{}:
			}
		}
	}()
	return reload
}

func (p *program) guardCommand() *cobra.Command {
	return p.action("guard", "Block forwarding until the daemon is ready",
		`Load the filter that keeps clients' packets from being forwarded anywhere, as
ztbridge-guard.service does before the network is up. It stays until the daemon
replaces it or `+"`ztbridge down`"+` removes it.`, bridge.Guard)
}

func (p *program) downCommand() *cobra.Command {
	return p.action("down", "Remove everything that ztbridge put into the kernel",
		`Remove rules, routes, filters and devices of ztbridge, and put back the kernel
parameters that it changed. Nothing else is touched. From then on nothing keeps
clients' packets from leaving by the box's own routes: leave the networks, or
switch forwarding off, if they must not. The daemon has to be stopped first.`,
		func(ctx context.Context, opts bridge.Options) error {
			changes, err := bridge.Down(ctx, opts)
			if err == nil {
				p.say("removed everything of ztbridge from the kernel (%d changes)", changes)
			}
			return err
		})
}

func (p *program) action(name, short, long string,
	act func(context.Context, bridge.Options) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Long: long, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return act(cmd.Context(), p.options())
		},
	}
}

func (p *program) planCommand() *cobra.Command {
	var of netip.Addr
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print what would change in the kernel, and change nothing",
		Long: `Print, as commands that can be pasted into a shell, what would change in the
kernel now. A running daemon is asked; without one the answer is what a daemon
that starts now would do first. No output: nothing would change.

With --of, say instead by which rule of the configuration file packets of one address
would go. That is not what a running daemon does with them, which may not have read
the file yet: see ztbridge status --of.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if of.IsValid() {
				e, err := bridge.Explain(p.options(), of)
				if err != nil {
					return err
				}
				return p.show(e, api.RenderExplanation(e), asJSON)
			}
			plan, err := p.daemon().Plan(cmd.Context())
			if errors.Is(err, api.ErrNotRunning) {
				plan, err = bridge.Plan(p.options())
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(p.out, plan)
			return err
		},
	}
	cmd.Flags().TextVar(&of, "of", netip.Addr{},
		"explain what would happen to packets of this `address`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer --of in JSON")
	return cmd
}
