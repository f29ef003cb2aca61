package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ztbridge/bridge/api"
	"ztbridge/bridge/command"
	"ztbridge/bridge/config"
	"ztbridge/bridge/network"
	"ztbridge/bridge/statefile"
	"ztbridge/bridge/web"
	device "ztbridge/image/device/box"
)

func (p *program) pageCommand() *cobra.Command {
	return group("page", "Make a password for the page, or show the code that sets it up",
		p.pagePassword(), p.pageCode(), p.pageImport())
}

// pageTools returns what the page does by the commands' own code, with the same files.
func (p *program) pageTools() web.Tools {
	flags := []string{"--config", p.configPath, "--state-dir", p.stateDir, "--runtime-dir",
		p.runtimeDir}
	for _, pair := range p.set {
		flags = append(flags, "--set", pair)
	}
	return web.Tools{
		Run: command.Runner{Flags: flags}.Run,
		Update: func() error {
			mark := filepath.Join(p.runtimeDir, filepath.Base(device.UpdateNow))
			return statefile.WriteLine(mark, "the page")
		},
		Network: func(ctx context.Context, o web.NetworkOptions) (web.Network, error) {
			options := p.networkOf(&networkOptions{network: o.ID})
			options.Token, options.Configure = o.Token, p.configureByService
			return network.Open(ctx, options)
		},
		ForgetToken: func() error { return network.ForgetToken(p.stateDir) },
	}
}

// configureByService has a network written into the configuration by the service that may do so:
// the daemon may not. The service also has the daemon read it.
func (p *program) configureByService(ctx context.Context, id string) (bool, error) {
	_, networks, err := config.ZeroTierOf(p.configPath)
	if err != nil || slices.Contains(networks, id) {
		return false, err
	}
	err = api.Import(ctx, api.ImportSocket(p.runtimeDir), api.ImportRequest{Verb: api.ImportJoin,
		Network: id}, strings.NewReader(""), func(api.Progress) {})
	if errors.Is(err, api.ErrNoImporter) {
		return false, config.ErrByHand
	}
	return err == nil, err
}

func (p *program) pagePassword() *cobra.Command {
	var role string
	var own, remove bool
	cmd := &cobra.Command{
		Use:   "password",
		Short: "Make a password for the page",
		Long: `Make a password for the page and print it. It replaces the one before, and ends what
was logged in with that. The owner sees and does everything, a viewer sees everything
and changes nothing. With --own you choose the password: it is read from the
terminal, or from standard input.

The page is served where devices enter once ` + "`page: {}`" + ` is in the configuration.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			of, err := web.ParseRole(role)
			if err != nil {
				return err
			}
			accounts := web.OpenAccounts(web.Dir(p.stateDir))
			if remove {
				if err := accounts.Remove(of); err != nil {
					return err
				}
				p.say("nobody can log in as %s any more", of)
				return nil
			}
			password := web.NewPassword()
			if own {
				if password, err = readPassword(p.err); err != nil {
					return err
				}
			}
			if err := accounts.Set(of, password); err != nil {
				return err
			}
			if !own {
				if _, err := fmt.Fprintln(p.out, password); err != nil {
					return err
				}
			}
			p.sayPage(of)
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", string(web.Owner), "whose password: `owner` or viewer")
	cmd.Flags().BoolVar(&own, "own", false, "choose the password yourself")
	cmd.Flags().BoolVar(&remove, "remove", false, "take the password away")
	cmd.MarkFlagsMutuallyExclusive("own", "remove")
	return cmd
}

func (p *program) pageCode() *cobra.Command {
	var open, withdraw bool
	cmd := &cobra.Command{
		Use:   "code",
		Short: "Print the code by which the page gets its first password",
		Long: `Print the code by which the page gets its first password. A box whose image was
started without a configuration has one: whoever types it into the page becomes the
owner. On the box's LAN none is needed within 30 minutes of its first start.

The code is spent with the first password of the owner, also one by the command
` + "`ztbridge page password`" + `. A box that was set up by files or user-data has no code.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			accounts := web.OpenAccounts(web.Dir(p.stateDir))
			if withdraw {
				return accounts.WithdrawClaim()
			}
			code := accounts.Code
			if open {
				code = accounts.OpenClaim
			}
			text, err := code()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.out, web.ShowCode(text))
			return err
		},
	}
	cmd.Flags().BoolVar(&open, "open", false, "make one, and begin the 30 minutes")
	cmd.Flags().BoolVar(&withdraw, "withdraw", false, "let nobody claim the page any more")
	for _, name := range []string{"open", "withdraw"} { // for the set-up of an image
		_ = cmd.Flags().MarkHidden(name) // there is such a flag
	}
	cmd.MarkFlagsMutuallyExclusive("open", "withdraw")
	return cmd
}

// sayPage tells where the page is, if it is anywhere.
func (p *program) sayPage(of web.Role) {
	p.say("this is the password of the page's %s from now on", of)
	cfg, _, err := config.Load(p.configPath, p.overrides)
	if err == nil && cfg.Page.Serve == config.PageOff {
		p.say("hint: the page is off; add `page: {}` to %s, then: ztbridge reload", p.configPath)
	}
}

// maxInput bounds what is read from standard input, in bytes.
const maxInput = 4096

// readPassword reads a password of the person's own choice.
func readPassword(questions io.Writer) (string, error) {
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		fmt.Fprint(questions, "Password: ")
		text, err := term.ReadPassword(fd)
		fmt.Fprintln(questions)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		return string(text), nil
	}
	text, err := io.ReadAll(io.LimitReader(os.Stdin, maxInput))
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", &api.HintedError{Err: fmt.Errorf("reading the password: there is none"),
			Hint: "write it on the first line of standard input"}
	}
	return line, nil
}
