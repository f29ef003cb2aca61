package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
	"ztbridge/bridge/config"
	"ztbridge/bridge/pki"
)

func (p *program) clientCommand() *cobra.Command {
	client := group("client", "Add, show and revoke clients of the endpoint",
		p.clientAdd(), p.clientSet(), p.clientList(), p.clientShow(),
		&cobra.Command{
			Use:   "revoke NAME",
			Short: "Block a client permanently and disconnect it",
			Long: `Block a client permanently. The running daemon notices at once: a live session ends
within a second. The name can be added again later, with new keys.`,
			Args: oneArgument,
			RunE: func(_ *cobra.Command, args []string) error {
				if err := clients.Revoke(p.keys(), args[0]); err != nil {
					return err
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
	client.Long = `Add, show and revoke clients of the endpoint. The keys are in the state directory; these
commands work whether the daemon runs or not, except disconnect and show --qr.`
	return client
}

// keys returns the endpoint's key store.
func (p *program) keys() *pki.Store { return clients.Keys(p.stateDir) }

// roster returns the clients of the configuration's endpoint.
func (p *program) roster() (*clients.Roster, error) {
	cfg, _, err := config.Load(p.configPath, p.overrides)
	if err != nil {
		return nil, err
	}
	if cfg.Endpoint == nil {
		return nil, &api.HintedError{
			Err:  fmt.Errorf("%s has no endpoint", p.configPath),
			Hint: "add `endpoint: {address: NAME}` with this box's public name or address",
		}
	}
	return clients.Open(cfg, p.keys())
}

func (p *program) clientAdd() *cobra.Command {
	var expires, address, tunnel, dns string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make keys and addresses for a new client",
		Args:  oneArgument,
		RunE: func(_ *cobra.Command, args []string) error {
			roster, err := p.roster()
			if err != nil {
				return err
			}
			r := clients.Request{Name: args[0]}
			if r.Life, err = parseLife(expires); err != nil {
				return err
			}
			if err := changeSettings(&r.Settings, tunnel, dns); err != nil {
				return err
			}
			if address != "" {
				if r.Address, err = netip.ParseAddr(address); err != nil {
					return fmt.Errorf("--address %s: not an address", address)
				}
			}
			c, err := roster.Add(r)
			if err != nil {
				return err
			}
			p.say("added %s with the addresses %s, valid until %s", c.Name,
				words(roster.Addresses(c)), c.Expires.Format(time.DateOnly))
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
			roster, err := p.roster()
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
			c, err := roster.Set(args[0], func(s *pki.Settings) {
				_ = changeSettings(s, tunnel, dns) // checked above
			})
			if err != nil {
				return err
			}
			p.say("%s gets %s at its next connection; `ztbridge client disconnect %s` makes it "+
				"reconnect now", c.Name, inWords(roster.Told(c)), c.Name)
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
		"whether the client looks names up through the tunnel, by `mode`: on, off or default "+
			"(as configured)")
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

// words lists values as people read them.
func words[T fmt.Stringer](list []T) string { return api.Join(list, " ") }

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
