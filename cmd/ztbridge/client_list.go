package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
	"ztbridge/bridge/pki"
)

// clientRow is a client for list --json.
type clientRow struct {
	Name      string       `json:"name"`
	State     string       `json:"state"` // "valid", "expired", "revoked"
	Issued    time.Time    `json:"issued"`
	Expires   time.Time    `json:"expires"`
	Addresses []netip.Addr `json:"addresses"`
	// Tunnel and DNS are what the client is told at its next connection.
	Tunnel string `json:"tunnel"`
	DNS    bool   `json:"dns"`
	// TunnelSet and DNSSet report whether these are its own settings, not the configuration's.
	TunnelSet bool `json:"tunnel_set"`
	DNSSet    bool `json:"dns_set"`
	// Connected names the listener that the client is connected to; empty: to none. It is absent
	// while the daemon does not run.
	Connected *string `json:"connected,omitempty"`
}

func (p *program) clientList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the clients and who is connected",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			roster, err := p.roster()
			if err != nil {
				return err
			}
			list, err := roster.List()
			if err != nil {
				return err
			}
			rows := []clientRow{}
			for _, c := range list {
				rows = append(rows, row(c, roster, time.Now()))
			}
			p.fillConnected(cmd, rows)
			if asJSON {
				return json.NewEncoder(p.out).Encode(rows)
			}
			return p.writeRows(rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

func row(c pki.Client, of *clients.Roster, now time.Time) clientRow {
	r := clientRow{
		Name: c.Name, State: clients.State(c, now), Issued: c.Issued, Expires: c.Expires,
		Addresses: of.Addresses(c), TunnelSet: c.Tunnel != "", DNSSet: c.DNS != nil,
	}
	r.Tunnel, r.DNS = of.Told(c)
	return r
}

// fillConnected asks the daemon, which need not run, who is connected.
func (p *program) fillConnected(cmd *cobra.Command, rows []clientRow) {
	s, err := p.daemon().Status(cmd.Context())
	if err != nil {
		if !errors.Is(err, api.ErrNotRunning) {
			p.say("warning: who is connected is not known: %v", err)
		}
		return
	}
	for i := range rows {
		listener := ""
		if at := slices.IndexFunc(s.Clients,
			func(c api.Client) bool { return c.Name == rows[i].Name }); at >= 0 {
			listener = s.Clients[at].Listener
		}
		rows[i].Connected = &listener
	}
}

func (p *program) writeRows(rows []clientRow) error {
	table := [][]string{{"NAME", "STATE", "EXPIRES", "CONNECTED", "ADDRESSES"}}
	for _, r := range rows {
		connected := "?"
		if r.Connected != nil {
			connected = cmp.Or(*r.Connected, "no")
		}
		table = append(table, []string{r.Name, r.State, r.Expires.Format(time.DateOnly), connected,
			words(r.Addresses)})
	}
	return p.table(table)
}
