package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
	"ztbridge/bridge/pki"
	"ztbridge/bridge/sealed"
)

const (
	passphraseFlag = "passphrase-file"
	passphraseHelp = "read the passphrase from the first line of a `file` (/dev/fd/3 for a " +
		"descriptor) instead of the terminal"
	// maxPassphrase bounds what is read as a passphrase, in bytes.
	maxPassphrase = 4096
)

func (p *program) clientExport() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "export-ca",
		Short: "Print an encrypted backup of all keys and clients",
		Long: `Print a backup of the certificate authority, all keys and all clients, encrypted with a
passphrase (age format). With it, a new box takes the place of this one, and every
profile goes on working.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			passphrase, err := p.passphrase(file, true)
			if err != nil {
				return err
			}
			// Whole or not at all: half a backup must not look like one.
			var backup bytes.Buffer
			if err := p.keys().Export(&backup, passphrase); err != nil {
				return hintBackup(err)
			}
			_, err = backup.WriteTo(p.out)
			return err
		},
	}
	cmd.Flags().StringVar(&file, passphraseFlag, "", passphraseHelp)
	return cmd
}

func (p *program) clientImport() *cobra.Command {
	var file string
	var replace bool
	cmd := &cobra.Command{
		Use:   "import-ca FILE",
		Short: "Restore all keys and clients from a backup",
		Long: `Restore all keys and clients from a backup that export-ca made, all or nothing. The running
daemon takes them over at once.

With --replace, clients that this box has revoked since the backup stay revoked, as far
as the keys that are replaced are of the same authority and can be read; where they
cannot, it says so and lists who may connect. Clients added since are gone.`,
		Args: oneArgument,
		RunE: func(_ *cobra.Command, args []string) error {
			backup, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer backup.Close()
			passphrase, err := p.passphrase(file, false)
			if err != nil {
				return err
			}
			done, err := p.keys().Import(backup, passphrase, replace)
			if err != nil {
				return hintBackup(err)
			}
			list, err := p.keys().Clients()
			if err != nil {
				return err
			}
			p.sayRestored(done, list)
			return nil
		},
	}
	cmd.Flags().StringVar(&file, passphraseFlag, "", passphraseHelp)
	cmd.Flags().BoolVar(&replace, "replace", false,
		"replace the keys that are there; they are kept aside")
	return cmd
}

func (p *program) sayRestored(done pki.Restored, list []pki.Client) {
	p.say("restored %d clients", len(list))
	if len(done.Revoked) > 0 {
		p.say("revoked since the backup, and still so: %s", strings.Join(done.Revoked, " "))
	}
	if done.Unknown != nil {
		var valid []string
		for _, c := range list {
			if c.Valid(time.Now()) {
				valid = append(valid, c.Name)
			}
		}
		p.say("warning: who was revoked since the backup is not known for sure: %v", done.Unknown)
		p.say("hint: block each of these that must not connect (ztbridge client revoke NAME): %s",
			strings.Join(valid, " "))
	}
	if done.Kept != "" {
		p.say("what was there before is kept in %s", done.Kept)
	}
}

func hintBackup(err error) error {
	return api.Hints{
		{pki.ErrAbsent, "`ztbridge client add NAME` makes one"},
		{pki.ErrOverwrite, "add --replace; the present one is kept aside"},
		{sealed.ErrWeak, "use several words: it protects every client's keys"},
	}.Add(clients.Explain(err))
}

// passphrase reads a passphrase from a file, or asks on the terminal, twice for a new one. It is
// never taken from the command line, which everybody on the box can read.
func (p *program) passphrase(file string, fresh bool) (string, error) {
	if file != "" {
		return passphraseFrom(file)
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", &api.HintedError{
			Err:  fmt.Errorf("asking for a passphrase: there is no terminal (%w)", err),
			Hint: "give it by --" + passphraseFlag,
		}
	}
	defer tty.Close()
	first, err := prompt(tty, "Passphrase: ")
	if err != nil || !fresh {
		return first, err
	}
	again, err := prompt(tty, "The same again: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", errors.New("the two passphrases differ")
	}
	return first, nil
}

func prompt(tty *os.File, text string) (string, error) {
	if _, err := io.WriteString(tty, text); err != nil {
		return "", fmt.Errorf("asking for a passphrase: %w", err)
	}
	answer, err := term.ReadPassword(int(tty.Fd()))
	_, _ = io.WriteString(tty, "\n") // the line that the person ended was not echoed
	if err != nil {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	return string(answer), nil
}

func passphraseFrom(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPassphrase))
	if err != nil {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	// A byte order mark is what some editors put before the text.
	line, _, _ := strings.Cut(strings.TrimPrefix(string(data), "\ufeff"), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}
