package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/bridge/services"
)

// errTrial reports a tunnel that is up and does not carry everything.
var errTrial = errors.New("the tunnel is up, but not everything passes through it")

func (p *program) tryCommand() *cobra.Command {
	var credentials string
	var legacy bool
	cmd := &cobra.Command{
		Use:   "try FILE",
		Short: "Connect with a profile, and check what passes through it",
		Long: `Connect with a provider's profile in a network namespace of its own, and pass an
echo, a DNS query and a TCP handshake through the tunnel. Routes and addresses
of this box stay as they are, and nothing is left behind. Needs root.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, report, err := profile.Load(args[0], profile.Options{LegacyCrypto: legacy})
			if err != nil {
				return err
			}
			for line := range strings.Lines(report.String()) {
				p.say("%s", strings.TrimSpace(line))
			}
			var login *config.Credentials
			if credentials != "" {
				path, err := filepath.Abs(credentials)
				if err != nil {
					return err
				}
				if login, err = config.ReadCredentials(path); err != nil {
					return err
				}
			}
			trial, err := services.Try(cmd.Context(), parsed, login,
				slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			return p.printTrial(trial)
		},
	}
	cmd.Flags().StringVar(&credentials, "credentials", "",
		"file with the user name on its first line and the password on its second")
	cmd.Flags().BoolVar(&legacy, "legacy-crypto", false,
		"accept weak certificates, as legacy_crypto of an egress does")
	return cmd
}

func (p *program) printTrial(t *services.Trial) error {
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "connected\t%s\tin %v\n", t.Server, t.Took.Round(10*time.Millisecond))
	for _, a := range t.Session.Addrs {
		fmt.Fprintf(table, "address\t%s\t\n", a)
	}
	fmt.Fprintf(table, "MTU\t%d\t\n", t.Session.MTU)
	for _, a := range t.Session.DNS {
		fmt.Fprintf(table, "resolver\t%s\t\n", a)
	}
	var failed error
	for _, c := range t.Checks {
		result := c.Took.Round(time.Millisecond).String()
		if c.Err != nil {
			result, failed = "failed: "+c.Err.Error(), errTrial
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", c.Name, c.Target, result)
	}
	return errors.Join(table.Flush(), failed)
}
