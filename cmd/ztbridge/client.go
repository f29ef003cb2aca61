package main

import (
	"cmp"
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
	"ztbridge/bridge/suggest"
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
	client.AddCommand(p.clientAdd(), p.clientSet(), p.clientList(), p.clientShow(),
		&cobra.Command{
			Use:   "revoke NAME",
			Short: "Block a client permanently and disconnect it",
			Long: `Block a client permanently. The running daemon notices at once: a live session ends
within a second. The name can be added again later, with new keys.`,
			Args: oneArgument,
			RunE: func(_ *cobra.Command, args []string) error {
				if _, err := p.keys().Revoke(args[0]); err != nil {
					return p.hintClient(args[0], err)
				}
				p.say("%s is revoked; a live session ends within a second", args[0])
				return nil
			},
		},
		&cobra.Command{
			Use:   "disconnect NAME",
			Short: "End a client's session; it may come back",
			Args:  oneArgument,
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
	var expires, address, tunnel, dns string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make keys and addresses for a new client",
		Args:  oneArgument,
		RunE: func(_ *cobra.Command, args []string) error {
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
			r := pki.Request{Name: args[0], LastHost: lastHost(pools)}
			if r.Life, err = parseLife(expires); err != nil {
				return err
			}
			if err := changeSettings(&r.Settings, tunnel, dns); err != nil {
				return err
			}
			if r.Host, err = hostOf(address, pools); err != nil {
				return err
			}
			c, err := p.keys().Add(r)
			if err != nil {
				return p.hintClient(args[0], err)
			}
			p.say("added %s with the addresses %s, valid until %s", c.Name, addresses(c, pools),
				c.Expires.Format(time.DateOnly))
			p.say("hint: `ztbridge client show %s` shows its profile; add --qr to scan it with "+
				"the phone", c.Name)
			return nil
		},
	}
	cmd.Flags().StringVar(&expires, "expires", "",
		"let the certificate end after this `time`, such as 90d or 2y (default 5y)")
	cmd.Flags().StringVar(&address, "address", "",
		"the client's fixed `address` in the pool of one of the listeners")
	settingFlags(cmd, &tunnel, &dns)
	return cmd
}

// clientSet changes what a client is told when it connects.
func (p *program) clientSet() *cobra.Command {
	var tunnel, dns string
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Change what a client is told when it connects",
		Long: `Change what a client is told at its next connection. Its profile and keys stay as they are.
With "default" the client follows endpoint.clients in the configuration again.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, _, err := p.endpoint()
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("tunnel") && !cmd.Flags().Changed("dns") {
				return &api.HintedError{
					Err:  fmt.Errorf("client set %s: nothing to change", args[0]),
					Hint: "add --tunnel full, zerotier or default, or --dns on, off or default",
				}
			}
			if err := changeSettings(new(pki.Settings), tunnel, dns); err != nil {
				return err
			}
			c, err := p.keys().Set(args[0], func(s *pki.Settings) {
				_ = changeSettings(s, tunnel, dns) // checked above
			})
			if err != nil {
				return p.hintClient(args[0], err)
			}
			p.say("%s gets %s at its next connection; `ztbridge client disconnect %s` makes it "+
				"reconnect now", c.Name, inWords(settingsOf(c, cfg)), c.Name)
			return nil
		},
	}
	settingFlags(cmd, &tunnel, &dns)
	return cmd
}

// settingFlags adds the flags of a client's settings.
func settingFlags(cmd *cobra.Command, tunnel, dns *string) {
	cmd.Flags().StringVar(tunnel, "tunnel", "", "what goes through the tunnel, by `mode`: full, "+
		"zerotier (only traffic for the ZeroTier networks) or default (as configured)")
	cmd.Flags().StringVar(dns, "dns", "",
		"whether the client resolves names through the tunnel: `on`, off or default (as "+
			"configured)")
}

// changeSettings applies the values of the flags; an empty one changes nothing.
func changeSettings(s *pki.Settings, tunnel, dns string) error {
	switch tunnel {
	case "":
	case "default":
		s.Tunnel = ""
	case pki.TunnelFull, pki.TunnelZeroTier:
		s.Tunnel = tunnel
	default:
		return fmt.Errorf("--tunnel %s: write %s, %s or default", tunnel, pki.TunnelFull,
			pki.TunnelZeroTier)
	}
	on := true
	switch strings.ToLower(dns) {
	case "":
	case "default":
		s.DNS = nil
	case "on", "yes", "true":
		s.DNS = &on
	case "off", "no", "false":
		on = false
		s.DNS = &on
	default:
		return fmt.Errorf("--dns %s: write on, off or default", dns)
	}
	return nil
}

// settingsOf returns the settings that a client is told, its own or the configuration's.
func settingsOf(c pki.Client, cfg *config.Config) (tunnel string, dns bool) {
	dns = cfg.Endpoint.Clients.DNS
	if c.DNS != nil {
		dns = *c.DNS
	}
	return cmp.Or(c.Tunnel, string(cfg.Endpoint.Clients.Tunnel)), dns
}

func inWords(tunnel string, dns bool) string {
	names := "resolves names through it"
	if !dns {
		names = "keeps its own DNS servers"
	}
	if tunnel == pki.TunnelZeroTier {
		return "a tunnel for the ZeroTier networks only, and " + names
	}
	return "a tunnel for all of its traffic, and " + names
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
func (p *program) hintClient(name string, err error) error {
	if errors.Is(err, pki.ErrUnknown) {
		return p.unknownClient(name)
	}
	return hintKeys(err)
}

// unknownClient reports whether there is no client of that name, and which one may be meant.
func (p *program) unknownClient(name string) error {
	text := fmt.Sprintf("there is no client %.60q", name)
	clients, err := p.keys().Clients()
	if err == nil {
		var names []string
		for _, c := range clients {
			names = append(names, c.Name)
		}
		if near := suggest.Nearest(name, names); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
	}
	return &api.HintedError{Err: errors.New(text), Hint: "`ztbridge client list` names them"}
}

// hintKeys adds what can be done about an error of the key store as a whole.
func hintKeys(err error) error {
	hints := []struct {
		is   error
		hint string
	}{
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
