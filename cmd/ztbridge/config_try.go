package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/importer"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/bridge/services"
)

// errTrial reports a tunnel that is up and does not carry everything.
var errTrial = errors.New("the tunnel is up, but not everything passes through it")

// profileFlags say how a provider's file is to be read.
type profileFlags struct {
	credentials string
	legacy      bool
	pick        []string
}

func (f *profileFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.credentials, "credentials", "",
		"`file` with the user name on its first line and the password on its second")
	cmd.Flags().BoolVar(&f.legacy, "legacy-crypto", false,
		"accept weak certificates, as legacy_crypto of an egress does")
	cmd.Flags().StringSliceVar(&f.pick, "pick", nil,
		"use only the profiles of an archive whose names match a `pattern`: nl-*")
}

// login returns the credentials, nil where there are none.
func (f *profileFlags) login() (*config.Credentials, error) {
	if f.credentials == "" {
		return nil, nil
	}
	path, err := filepath.Abs(f.credentials)
	if err != nil {
		return nil, fmt.Errorf("finding the credentials: %w", err)
	}
	return config.ReadCredentials(path)
}

func (p *program) tryCommand() *cobra.Command {
	var flags profileFlags
	progress := &progress{program: p}
	cmd := &cobra.Command{
		Use:   "try FILE",
		Short: "Connect with a profile, and check what passes through it",
		Long: `Connect with a provider's profile, or one of a ZIP archive of profiles, in a network
namespace of its own, and pass an echo, a DNS query and a TCP handshake through the
tunnel. Routes and addresses of this box stay as they are, and nothing is left behind.
Needs root.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			login, err := flags.login()
			if err == nil {
				err = progress.try(cmd.Context(), args[0], flags, login)
			}
			return progress.end(err)
		},
	}
	flags.add(cmd)
	progress.flag(cmd)
	return cmd
}

// try checks a provider's file, connects, and tells what passes.
func (p *progress) try(ctx context.Context, file string, flags profileFlags,
	login *config.Credentials) error {
	parsed, report, err := importer.Load(file, flags.pick,
		profile.Options{LegacyCrypto: flags.legacy,
			Withheld: config.NamedSecrets(p.configPath, file)})
	if err != nil {
		return err
	}
	for line := range strings.Lines(report.String()) {
		line = strings.TrimSpace(line)
		text, warning := strings.CutPrefix(line, "warning: ")
		text, serious := strings.CutPrefix(text, "serious: ")
		p.tell(api.Progress{Text: text, Warning: warning || serious})
	}
	if err := importer.CheckCredentials(parsed, login); err != nil {
		return err
	}
	last := ""
	trial, err := services.Try(ctx, parsed, login, slog.New(slog.DiscardHandler),
		func(s client.Status) {
			if text := stateText(s); text != last {
				last = text
				p.tell(api.Progress{Text: text})
			}
		})
	if err != nil {
		return err
	}
	return p.tellTrial(trial)
}

// stateText says what a tunnel does.
func stateText(s client.Status) string {
	text := string(s.State)
	if place := s.Place(); place != "" {
		text += ": " + place
	}
	if s.State != client.StateUp && s.Cause != "" {
		text += " (" + s.Cause + ")"
	}
	return text
}

func (p *progress) tellTrial(t *services.Trial) error {
	line := func(failed bool, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if !p.json {
			_, _ = fmt.Fprintln(p.out, text) // the answer, and no information
			return
		}
		p.tell(api.Progress{Text: text, Warning: failed})
	}
	if p.json {
		p.tell(api.Progress{Connected: true})
	}
	line(false, "connected  %s in %v", t.Server, t.Took.Round(10*time.Millisecond))
	for _, a := range t.Session.Addrs {
		line(false, "address    %s", a)
	}
	line(false, "MTU        %d", t.Session.MTU)
	for _, a := range t.Session.DNS {
		line(false, "resolver   %s", a)
	}
	var failed error
	for _, c := range t.Checks {
		result := c.Took.Round(time.Millisecond).String()
		if c.Err != nil {
			result, failed = "failed: "+c.Err.Error(), errTrial
		}
		line(c.Err != nil, "%-10s %s %s", c.Name, c.Target, result)
	}
	return failed
}
