package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ztbridge/bridge/network"
	"ztbridge/bridge/zerotier/controller"
)

// networkOptions are the flags of `ztbridge network`.
type networkOptions struct {
	network, controller, tokenFile string
}

func (p *program) networkCommand() *cobra.Command {
	o := &networkOptions{}
	network := group("network",
		"Set up the ZeroTier network for this box, and authorise its members",
		p.networkSetup(o), p.networkStatus(o), p.networkTeardown(o), p.networkMembers(o),
		p.networkAuthorize(o, true), p.networkAuthorize(o, false))
	network.Long = `Set up the ZeroTier network at its controller so that members leave by this box, show
what is missing, take it back, and authorise members.

The controller is ZeroTier Central, by an API token, or the one inside this box's own
zerotier-one. A token is made at https://central.zerotier.com (older accounts:
https://my.zerotier.com, page Account). It is read from --token-file, or asked for, and
kept in the state directory, readable by root alone. Without a token, the steps for
Central's web page are printed instead.`
	flags := network.PersistentFlags()
	flags.StringVar(&o.network, "network", "",
		"the network's `id` (default: the one in the configuration)")
	flags.StringVar(&o.controller, "controller", "",
		"the `kind` of controller: central-v1, central-v2 or local (default: found out)")
	flags.StringVar(&o.tokenFile, "token-file", "", "read the API token from this `file`")
	return network
}

// networkOf returns which network is meant, and where its controller is.
func (p *program) networkOf(o *networkOptions) network.Options {
	return network.Options{ConfigPath: p.configPath, StateDir: p.stateDir,
		Overrides: p.overrides, Network: o.network, Controller: controller.Kind(o.controller),
		CentralV1: p.centralV1, CentralV2: p.centralV2}
}

// openNetwork finds the box, its network and the controller.
func (p *program) openNetwork(ctx context.Context, o *networkOptions) (*network.Session, error) {
	options := p.networkOf(o)
	options.AskToken = askToken
	options.Waiting = func(d time.Duration) {
		p.say("ZeroTier Central asks to wait: going on in %s", d.Round(time.Second))
	}
	if o.tokenFile != "" {
		var err error
		if options.Token, err = network.ReadToken(o.tokenFile); err != nil {
			return nil, err
		}
	}
	s, err := network.Open(ctx, options)
	if err == nil && s.KeptToken() != "" {
		p.say("the token is kept in %s", s.KeptToken())
	}
	return s, err
}

// askToken lets a person type the token. It is empty if there is no terminal: nobody can answer.
func askToken() (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", nil //nolint:nilerr // the steps for the web page are printed instead
	}
	defer tty.Close()
	token, err := prompt(tty, "API token of ZeroTier Central (empty: show the steps for its web "+
		"page): ")
	return strings.TrimSpace(token), err
}
