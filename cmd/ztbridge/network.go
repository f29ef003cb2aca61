package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

// networkOptions are the flags of `ztbridge network`.
type networkOptions struct {
	network, controller, tokenFile string
}

func (p *program) networkCommand() *cobra.Command {
	o := &networkOptions{}
	network := &cobra.Command{
		Use:   "network",
		Short: "Set up the ZeroTier network for this box, and authorise its members",
		Long: `Set up the ZeroTier network at its controller so that members leave by this box, show
what is missing, take it back, and authorise members.

The controller is ZeroTier Central, by an API token, or the one inside this box's own
zerotier-one. A token is made at https://central.zerotier.com (older accounts:
https://my.zerotier.com, page Account). It is read from --token-file, or asked for, and
kept in the state directory, readable by root alone. Without a token, the steps for
Central's web page are printed instead.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := network.PersistentFlags()
	flags.StringVar(&o.network, "network", "",
		"the network's `id` (default: the one in the configuration)")
	flags.StringVar(&o.controller, "controller", "",
		"the `kind` of controller: central-v1, central-v2 or local (default: found out)")
	flags.StringVar(&o.tokenFile, "token-file", "", "read the API token from this `file`")
	network.AddCommand(p.networkSetup(o), p.networkStatus(o), p.networkTeardown(o),
		p.networkMembers(o), p.networkAuthorize(o, true), p.networkAuthorize(o, false))
	return network
}

// networkSession is what all of `ztbridge network` starts from.
type networkSession struct {
	client  controller.Client // nil: there is no token, and no controller on this box
	local   *zerotier.Local
	self    zerotier.Address
	records *controller.Records
	id      zerotier.NetworkID // zero: none is configured
}

// openNetwork finds the box, its network and the controller.
func (p *program) openNetwork(ctx context.Context, o *networkOptions) (*networkSession, error) {
	home, configured, err := config.ZeroTierOf(p.configPath)
	if err != nil {
		return nil, err
	}
	s := &networkSession{local: zerotier.NewLocal(home)}
	if s.self, _, err = s.local.Node(ctx); err != nil {
		return nil, &api.HintedError{Err: err,
			Hint: "start zerotier-one: systemctl enable --now zerotier-one; run this as root"}
	}
	if s.records, err = controller.ReadRecords(p.stateDir); err != nil {
		return nil, err
	}
	if s.id, err = chooseNetwork(o.network, configured, s.records); err != nil {
		return nil, err
	}
	s.client, err = p.chooseController(ctx, o, s)
	return s, hintNetwork(err)
}

// chooseNetwork returns the network that is meant: the flag's, or the only one that the
// configuration or the record of an earlier setup names; zero if there is none.
func chooseNetwork(flag string, configured []string,
	records *controller.Records) (zerotier.NetworkID, error) {
	if flag != "" {
		return zerotier.ParseNetworkID(flag)
	}
	if len(configured) == 0 && len(records.Networks) == 1 {
		return records.Networks[0].Network, nil
	}
	switch len(configured) {
	case 0:
		return 0, nil
	case 1:
		return zerotier.ParseNetworkID(configured[0])
	}
	return 0, &api.HintedError{Err: errors.New("the configuration names several networks"),
		Hint: "say which: --network " + strings.Join(configured, " or --network ")}
}

// chooseController returns the controller that is asked for, else the one of an earlier setup, else
// the box's own if it governs the network or there is no token. It returns nil if there is none.
func (p *program) chooseController(ctx context.Context, o *networkOptions,
	s *networkSession) (controller.Client, error) {
	kind := controller.Kind(o.controller)
	if !slices.Contains([]controller.Kind{"", controller.CentralV1, controller.CentralV2,
		controller.OnBox}, kind) {
		return nil, fmt.Errorf("--controller %s: want %s, %s or %s", kind, controller.CentralV1,
			controller.CentralV2, controller.OnBox)
	}
	if rec, ok := s.records.Of(s.id); ok && kind == "" {
		kind = rec.Controller
	}
	if kind == "" && s.id != 0 && s.id.Controller() == s.self {
		kind = controller.OnBox
	}
	if kind == controller.OnBox {
		return controller.NewOnBox(ctx, s.local)
	}
	token, kept, err := p.token(o)
	if token == "" && err == nil && s.id == 0 && kind == "" {
		client, err := controller.NewOnBox(ctx, s.local)
		if !errors.Is(err, controller.ErrNoController) {
			return client, err
		}
	}
	if token == "" && err == nil {
		token, err = askToken()
	}
	if token == "" || err != nil {
		return nil, err
	}
	client, err := p.central(ctx, kind, token)
	if err == nil && !kept {
		err = p.keepToken(token)
	}
	return client, err
}

// central returns a client of ZeroTier Central; the zero kind is found out.
func (p *program) central(ctx context.Context, kind controller.Kind,
	token string) (controller.Client, error) {
	switch kind {
	case controller.CentralV1:
		return controller.NewCentralV1(p.centralV1, token, p.sayWaiting), nil
	case controller.CentralV2:
		return controller.NewCentralV2(p.centralV2, token, p.sayWaiting), nil
	}
	return controller.DetectCentral(ctx, p.centralV1, p.centralV2, token, p.sayWaiting)
}

func (p *program) sayWaiting(d time.Duration) {
	p.say("ZeroTier Central asks to wait: going on in %s", d.Round(time.Second))
}

// existing returns the network that the session is about, or an error that says how to choose one.
func (s *networkSession) existing(ctx context.Context) (controller.Network, error) {
	if s.client == nil {
		return controller.Network{}, errNoToken
	}
	if s.id == 0 {
		return controller.Network{}, &api.HintedError{
			Err:  errors.New("no network is configured"),
			Hint: "say which: --network ID; or make one: ztbridge network setup"}
	}
	n, err := s.client.Network(ctx, s.id)
	return n, hintNetwork(err)
}

var errNoToken = &api.HintedError{Err: errors.New("this needs an API token of ZeroTier Central"),
	Hint: "make one at https://central.zerotier.com (older accounts: https://my.zerotier.com), " +
		"and give it by --token-file FILE"}

// where names a controller in a sentence.
func where(c controller.Client) string {
	switch c.Kind() {
	case controller.CentralV1:
		return "ZeroTier Central (API v1)"
	case controller.CentralV2:
		return "ZeroTier Central (API v2)"
	}
	return "the controller on this box"
}

// hintNetwork adds what can be done about an error of a controller.
func hintNetwork(err error) error {
	hints := []struct {
		is   error
		hint string
	}{
		{controller.ErrUnauthorized, "make a new token at https://central.zerotier.com (older " +
			"accounts: https://my.zerotier.com), and give it by --token-file FILE"},
		{controller.ErrForbidden, "give the token the right to change this network; the newer " +
			"Central has API keys only in the plan Essential and above. Without a token: " +
			"remove the kept one and run it again for the steps of the web page"},
		{controller.ErrNoController, "default builds of zerotier-one have none since 1.16.0: " +
			"use ZeroTier Central with --token-file FILE"},
		{controller.ErrRateLimited, "wait a minute and run the same command again: it goes on " +
			"where it stopped"},
		{controller.ErrNotFound, "check the network id, and that the token's account may read " +
			"that network"},
		{controller.ErrNotKept, "run the same command again; then look at the network's page"},
		{zerotier.ErrRefused, "run it as root, on the box whose zerotier-one it is about"},
	}
	for _, h := range hints {
		if errors.Is(err, h.is) {
			return &api.HintedError{Err: err, Hint: h.hint}
		}
	}
	return err
}
