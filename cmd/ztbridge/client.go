package main

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
)

func (p *program) clientCommand() *cobra.Command {
	client := &cobra.Command{
		Use:   "client",
		Short: "Add, show and revoke clients of the endpoint",
		Long: `Add, show and revoke clients of the endpoint. The keys are in the state directory; these
commands work whether the daemon runs or not, except disconnect and show --qr.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	client.AddCommand(p.clientAdd(), p.clientList(), p.clientShow(),
		&cobra.Command{
			Use:   "revoke NAME",
			Short: "Bar a client for good, and end its session",
			Long: `Bar a client for good. The running daemon sees it at once: a live session ends within
a second. The name can be added again later, with new keys.`,
			Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				if _, err := p.keys().Revoke(args[0]); err != nil {
					return hintClient(err)
				}
				p.say("%s is revoked; a live session ends within a second", args[0])
				return nil
			},
		},
		&cobra.Command{
			Use:   "disconnect NAME",
			Short: "End a client's session; it may come back",
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				n, err := p.daemon().Disconnect(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if n == 0 {
					p.say("%s was not connected", args[0])
					return nil
				}
				p.say("%s is disconnected; it may come back unless you revoke it", args[0])
				return nil
			},
		},
		p.clientExport(), p.clientImport())
	return client
}

// keys returns the endpoint's key store.
func (p *program) keys() *pki.Store { return pki.New(filepath.Join(p.stateDir, "pki")) }

// endpoint returns a configuration that has an endpoint, and the pools of its listeners.
func (p *program) endpoint() (*config.Config, []endpoint.Pool, error) {
	cfg, _, err := config.Load(p.configPath, p.overrides)
	if err != nil {
		return nil, nil, err
	}
	if cfg.Endpoint == nil {
		return nil, nil, &api.HintedError{
			Err:  fmt.Errorf("%s has no endpoint", p.configPath),
			Hint: "add `endpoint: {address: NAME}` with this box's public name or address",
		}
	}
	pools, err := endpoint.Divide(cfg.Endpoint.Pool4, cfg.Endpoint.Pool6, len(cfg.Endpoint.Listen))
	return cfg, pools, err
}

func (p *program) clientAdd() *cobra.Command {
	var expires, address, tunnel string
	var dns bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make keys and addresses for a new client",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, pools, err := p.endpoint()
			if err != nil {
				return err
			}
			if err := pki.CheckName(args[0]); err != nil {
				return err
			}
			if err := cfg.CheckClientName(args[0]); err != nil {
				return &api.HintedError{Err: fmt.Errorf("adding client %s: %w", args[0], err),
					Hint: "choose another name"}
			}
			if !cmd.Flags().Changed("tunnel") {
				tunnel = string(cfg.Endpoint.Clients.Tunnel)
			}
			if !cmd.Flags().Changed("dns") {
				dns = cfg.Endpoint.Clients.DNS
			}
			r := pki.Request{Name: args[0], NoDNS: !dns, LastHost: lastHost(pools)}
			if r.Life, err = parseLife(expires); err != nil {
				return err
			}
			if r.NetworkOnly, err = networkOnly(tunnel); err != nil {
				return err
			}
			if r.Host, err = hostOf(address, pools); err != nil {
				return err
			}
			c, err := p.keys().Add(r)
			if err != nil {
				return hintClient(err)
			}
			p.say("added %s with the addresses %s, valid until %s", c.Name, addresses(c, pools),
				c.Expires.Format(time.DateOnly))
			p.say(
				"hint: `ztbridge client show %s` prints its profile, with --qr a code for its "+
					"camera", c.Name)
			return nil
		},
	}
	cmd.Flags().StringVar(&expires, "expires", "",
		"let the certificate end after this `time`, such as 90d or 2y (default 5y)")
	cmd.Flags().StringVar(&address, "address", "",
		"the client's fixed `address` in the pool of one of the listeners")
	cmd.Flags().StringVar(&tunnel, "tunnel", "",
		"what goes through the tunnel, by `mode`: full or zerotier (default as configured)")
	cmd.Flags().BoolVar(&dns, "dns", true, "let the client ask its resolver through the tunnel")
	cmd.Flags().Lookup("dns").DefValue = "as configured"
	return cmd
}

// lastHost is the highest host number that fits all pools.
func lastHost(pools []endpoint.Pool) uint32 {
	last := pools[0].LastHost()
	for _, pool := range pools[1:] {
		last = min(last, pool.LastHost())
	}
	return last
}

// hostOf returns the host number that gives a client the address; 0 when none is asked for.
func hostOf(text string, pools []endpoint.Pool) (uint32, error) {
	if text == "" {
		return 0, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return 0, fmt.Errorf("--address %s: not an address", text)
	}
	var where []string
	for _, pool := range pools {
		if host, ok := pool.Host(addr); ok {
			return host, nil
		}
		where = append(where, pool.V4.String(), pool.V6.String())
	}
	return 0, &api.HintedError{
		Err:  fmt.Errorf("--address %s: outside the endpoint's pools, or the box's own", text),
		Hint: "choose one out of " + strings.Join(where, ", "),
	}
}

func networkOnly(tunnel string) (bool, error) {
	switch config.TunnelMode(tunnel) {
	case config.TunnelFull:
		return false, nil
	case config.TunnelZeroTier:
		return true, nil
	}
	return false, fmt.Errorf("--tunnel %s: write %s or %s", tunnel, config.TunnelFull,
		config.TunnelZeroTier)
}

// addresses lists a client's addresses in all pools.
func addresses(c pki.Client, pools []endpoint.Pool) string {
	var out []string
	for _, pool := range pools {
		list, err := pool.Client(c.Host)
		if err != nil {
			continue // the pools have been made smaller since
		}
		for _, a := range list {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, " ")
}

// day is what people count the life of certificates in.
const day = 24 * time.Hour

// parseLife reads "90d", "12w" or "2y", or a Go duration; empty is 0.
func parseLife(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	wrong := &api.HintedError{Err: fmt.Errorf("--expires %s: not a time", text),
		Hint: "write it as 90d, 12w, 2y or 36h"}
	var unit time.Duration
	number := text[:len(text)-1]
	switch text[len(text)-1] {
	case 'd':
		unit = day
	case 'w':
		unit = 7 * day
	case 'y':
		unit = 365 * day
	default:
		life, err := time.ParseDuration(text)
		if err != nil || life <= 0 {
			return 0, wrong
		}
		return life, nil
	}
	// The limit is far beyond the authority's own life, and keeps the product from overflowing.
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || n*uint64(unit/day) > 100*365 {
		return 0, wrong
	}
	return time.Duration(n) * unit, nil
}

// hintClient adds what can be done about an error of the key store.
func hintClient(err error) error {
	hints := []struct {
		is   error
		hint string
	}{
		{pki.ErrUnknown, "`ztbridge client list` names them"},
		{pki.ErrExists, "choose another name, or revoke that one first"},
		{pki.ErrHostTaken, "`ztbridge client list` shows the addresses in use"},
		{pki.ErrDamaged, "restore it: `ztbridge client import-ca --replace BACKUP`"},
		{pki.ErrPoolFull, "give the endpoint a larger `pool:`"},
	}
	for _, h := range hints {
		if errors.Is(err, h.is) {
			return &api.HintedError{Err: err, Hint: h.hint}
		}
	}
	return err
}
