package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/pki"
)

func (p *program) clientShow() *cobra.Command {
	var qr, tcp bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Print a client's profile, or draw a code for its camera",
		Long: `Print a client's profile: one file with its keys, for OpenVPN 2.5 and later, OpenVPN
Connect and OpenVPN for Android. Whoever has it can connect as this client.

With --qr, draw a code with a link to the profile instead: it works for ten minutes and
one download, and needs the daemon.

Where an HTTP proxy is the only way out, name it in the app. OpenVPN 2 takes it with
` + "`openvpn --config FILE --http-proxy HOST PORT auto`" + `, and a profile printed with --tcp.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if qr {
				return p.showLink(cmd, args[0])
			}
			cfg, _, err := p.endpoint()
			if err != nil {
				return err
			}
			creds, err := p.keys().Credentials(args[0])
			if err != nil {
				return hintClient(err)
			}
			var remotes []pki.Remote
			for _, l := range cfg.Endpoint.Listen {
				if !tcp || l.Proto == "tcp" {
					remotes = append(remotes, pki.Remote{Proto: l.Proto, Port: l.Port})
				}
			}
			profile, err := pki.Profile(creds, cfg.Endpoint.Address, remotes)
			if err != nil {
				return err
			}
			_, err = p.out.Write(profile)
			return err
		},
	}
	cmd.Flags().BoolVar(&qr, "qr", false, "draw a code with a one-time link to the profile")
	cmd.Flags().BoolVar(&tcp, "tcp", false,
		"leave UDP out of the profile: OpenVPN 2 refuses an HTTP proxy together with it")
	cmd.MarkFlagsMutuallyExclusive("qr", "tcp")
	return cmd
}

// showLink draws a one-time link. A certificate that nobody vouches for makes OpenVPN Connect
// refuse its own kind of link, so the code is then one for a browser.
func (p *program) showLink(cmd *cobra.Command, name string) error {
	link, err := p.daemon().Link(cmd.Context(), name)
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

// Bright white on black, and back: a terminal that writes dark on light would show the negative,
// which many cameras do not read.
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
	p.say("good until %s and for one download: a chat program that fetches a preview uses it up",
		link.Expires.Local().Format("15:04"))
	if link.Fingerprint == "" {
		p.say(
			"scan it with the camera of a phone that has OpenVPN Connect; for other apps open " +
				"the second link and import the file")
		return
	}
	p.say(
		"warning: nobody vouches for this server's certificate: browsers warn, and OpenVPN " +
			"Connect refuses the first link")
	p.say(
		"open the second link, compare the certificate's SHA-256 fingerprint, and import the file:")
	p.say("%s", link.Fingerprint)
	p.say("hint: `endpoint: {https: {acme: {}}}` obtains a certificate for a public name")
}
