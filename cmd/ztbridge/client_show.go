package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
)

func (p *program) clientShow() *cobra.Command {
	var qr, tcp bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a client's profile; add --qr to scan it with the phone",
		Long: `Print a client's profile: one file with its keys, for OpenVPN 2.5 and later, OpenVPN
Connect and OpenVPN for Android. Whoever has it can connect as this client.

With --qr, draw a code with a link to the profile instead: it works for ten minutes and
one download, and needs the daemon.

Where an HTTP proxy is the only way out, name it in the app. OpenVPN 2 takes it with
` + "`openvpn --config FILE --http-proxy HOST PORT auto`" + `, and a profile printed with --tcp.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			roster, err := p.roster()
			if err != nil {
				return err
			}
			profile, c, err := roster.Profile(args[0], tcp)
			if err != nil {
				return err
			}
			if qr {
				err = p.showLink(cmd, args[0], tcp)
			} else {
				_, err = p.out.Write(profile)
			}
			if err == nil {
				for _, text := range clients.Advice(roster.Told(c)) {
					p.say("%s", text)
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&qr, "qr", false, "draw a code with a one-time link to the profile")
	cmd.Flags().BoolVar(&tcp, "tcp", false,
		"leave UDP out of the profile: OpenVPN 2 refuses an HTTP proxy together with it")
	return cmd
}

// showLink draws a one-time link. OpenVPN Connect refuses its own kind of link to a server with a
// self-signed certificate, so the code is then one for a browser.
func (p *program) showLink(cmd *cobra.Command, name string, tcp bool) error {
	link, err := p.daemon().Link(cmd.Context(), api.LinkRequest{Client: name, TCP: tcp})
	if errors.Is(err, api.ErrNotFound) {
		return clients.Unknown(p.keys(), name)
	}
	if err != nil {
		return err
	}
	text := link.Import
	if link.Fingerprint != "" {
		text = link.URL
	}
	if err := drawCode(p.out, text, isTerminal(p.out)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(p.out, "%s\n%s\n", link.Import, link.URL); err != nil {
		return err
	}
	p.explainLink(link)
	return nil
}

// lightOnDark sets bright white on black. A terminal with dark text on light would show the
// negative of a code, which many cameras do not read. ordinary resets the colours.
const lightOnDark, ordinary = "\x1b[97;40m", "\x1b[0m"

// drawCode draws a text as a QR code, with colours of its own or, where they are no use, without.
func drawCode(w io.Writer, text string, colours bool) error {
	var drawing strings.Builder
	qrterminal.GenerateHalfBlock(text, qrterminal.L, &drawing)
	for line := range strings.Lines(drawing.String()) {
		if colours {
			line = lightOnDark + strings.TrimSuffix(line, "\n") + ordinary + "\n"
		}
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) explainLink(link api.Link) {
	p.say("Works once, until %s. Do not send it by chat: a link preview would use it up.",
		link.Expires.Local().Format("15:04"))
	if link.Fingerprint == "" {
		p.say("Scan it with the camera of a phone that has OpenVPN Connect. For other apps, open " +
			"the second link and import the file.")
		return
	}
	p.say("warning: The certificate is self-signed: your browser will warn you, and OpenVPN " +
		"Connect cannot use the first link.")
	p.say("Open the second link, compare the certificate's SHA-256 fingerprint, and import the " +
		"file. The fingerprint is:")
	p.say("%s", link.Fingerprint)
	p.say("hint: `endpoint: {https: {acme: {}}}` obtains a certificate for a public name")
}
