package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/importer"
)

// pageImport is what ztbridge-import@.service runs for each connection of the daemon's. The daemon
// itself may not write the configuration, nor make a namespace to try a profile in.
func (p *program) pageImport() *cobra.Command {
	return &cobra.Command{
		Use:    "import",
		Short:  "Carry out what the page asks for, by standard input and output",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A page that went away in between has still asked for it.
			signal.Ignore(unix.SIGPIPE)
			progress := &progress{program: p, json: true}
			return progress.end(progress.carryOut(cmd.Context(), os.Stdin))
		},
	}
}

// carryOut reads a request with its file and does what it asks for.
func (p *progress) carryOut(ctx context.Context, from io.Reader) error {
	r, content, err := api.ReadImport(from, importer.MaxFile)
	if err != nil {
		return err
	}
	if r.Verb == api.ImportJoin {
		return p.joinNetwork(ctx, r)
	}
	dir, err := os.MkdirTemp("", "ztbridge-import-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, importer.CleanName(filepath.Base(r.File)))
	if err := receive(file, content, r.Size); err != nil {
		return err
	}
	i := &importer.Import{ConfigPath: p.configPath, Overrides: p.overrides, Daemon: p.daemon(),
		Name: r.Egress, Replace: r.Replace || r.Verb == api.ImportReplace, File: file,
		LegacyCrypto: r.LegacyCrypto, Rules: r.Rules,
		Progress: func(text string) { p.tell(api.Progress{Text: text}) }}
	if r.Username != "" || r.Password != "" || r.Passphrase != "" {
		i.Credentials = &config.Credentials{Username: config.NewSecret(r.Username),
			Password:      config.NewSecret(r.Password),
			KeyPassphrase: config.NewSecret(r.Passphrase)}
	}
	switch r.Verb {
	case api.ImportTry:
		err = p.try(ctx, file, profileFlags{legacy: r.LegacyCrypto}, i.Login())
	case api.ImportAdd, api.ImportReplace:
		var egress *api.Egress
		if egress, err = i.Run(ctx); err == nil {
			p.tell(api.Progress{Text: importText(r.Egress, p.configPath, egress)})
		}
	default:
		err = fmt.Errorf("there is no verb %q", r.Verb)
	}
	if errors.Is(err, importer.ErrCredentials) {
		return &api.HintedError{Err: err, Hint: "Type them into the form."}
	}
	return err
}

// joinNetwork writes a network into the configuration.
func (p *progress) joinNetwork(ctx context.Context, r api.ImportRequest) error {
	i := &importer.Import{ConfigPath: p.configPath, Overrides: p.overrides, Daemon: p.daemon()}
	if err := i.Join(ctx, r.Network, r.Instead); err != nil {
		return err
	}
	p.tell(api.Progress{Text: "joining network " + r.Network})
	return nil
}

// receive writes a file of a size.
func receive(path string, from io.Reader, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("receiving the profile: %w", err)
	}
	n, err := io.Copy(f, from)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("receiving the profile: %w", err)
	}
	if n != size {
		return errors.New("receiving the profile: its end is missing")
	}
	return nil
}
