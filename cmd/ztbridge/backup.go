package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/backup"
	"ztbridge/bridge/sealed"
	"ztbridge/bridge/services"
	device "ztbridge/image/device/box"
)

const (
	outputFlag = "output"
	systemFlag = "system-dir"
)

func (p *program) backupCommand() *cobra.Command {
	var out, passphraseFile, system string
	cmd := &cobra.Command{
		Use:   "backup -o FILE",
		Short: "Save all settings, keys and clients in one encrypted file",
		Long: `Put all that makes this box itself into one file, encrypted with a passphrase: the
configuration and every file that it names, the endpoint's keys and clients, choices,
tokens, and the ZeroTier identity and networks. ` + "`ztbridge restore`" + ` makes another box
the same. Left out is the history of traffic.

It is an age file with a tar archive in it: ` + "`age -d FILE | tar t`" + ` lists it. Who has the
file and the passphrase can be this box; without the passphrase nobody can.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return usage("backup needs -o FILE", "ztbridge backup -o box.age")
			}
			if out == "-" && isTerminal(p.out) {
				return usage("-o -: a backup cannot be shown on a terminal",
					"name a file, or pipe it into a program")
			}
			passphrase, err := p.passphrase(passphraseFile, true)
			if err != nil {
				return err
			}
			// Whole or not at all: half a backup must not look like one.
			var sealedBox bytes.Buffer
			files, err := backup.Write(&sealedBox, p.places(system), version(), passphrase)
			if err != nil {
				return hintCare(err)
			}
			if err := p.deliver(out, sealedBox.Bytes()); err != nil {
				return err
			}
			p.say("wrote %d files, encrypted, to %s", files, out)
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, outputFlag, "o", "", "`file` to write; - for standard output")
	cmd.Flags().StringVar(&passphraseFile, passphraseFlag, "", passphraseHelp)
	p.systemDirFlag(cmd, &system)
	return cmd
}

func (p *program) restoreCommand() *cobra.Command {
	var passphraseFile, system string
	var replace, early bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore a backup on this box",
		Long: `Restore a backup on this box, all or nothing: same ZeroTier address, same clients,
same tunnels. Switch the box that the backup is of off: two boxes with one identity
disturb each other.

It refuses on a box that is set up already, unless --replace is given; what was there
is kept aside. ztbridge and zerotier-one are stopped meanwhile, and started again;
nothing is forwarded in between.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("opening the backup: %w", err)
			}
			defer file.Close()
			passphrase, err := p.passphrase(passphraseFile, false)
			if err != nil {
				return err
			}
			r := backup.Restore{Places: p.places(system), Replace: replace, Check: p.checkRestored}
			if !early {
				r.Services = &restoreServices{program: p}
			}
			done, err := r.Do(cmd.Context(), io.Reader(file), passphrase)
			if err != nil {
				return hintCare(err)
			}
			p.say("restored %d files of %s, as it was on %s", done.Files, done.Host,
				done.Created.Local().Format("2006-01-02 15:04"))
			for _, dir := range done.Aside {
				p.say("what was there before is kept in %s", dir)
			}
			if !early {
				p.say("see what it does now: ztbridge status")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&passphraseFile, passphraseFlag, "", passphraseHelp)
	cmd.Flags().BoolVar(&replace, "replace", false, "replace what is there; it is kept aside")
	cmd.Flags().BoolVar(&early, "early", false, "nothing that uses the files has been started yet")
	_ = cmd.Flags().MarkHidden("early") // there is such a flag
	p.systemDirFlag(cmd, &system)
	return cmd
}

// systemDirFlag lets an image say where its files for the box itself are.
func (p *program) systemDirFlag(cmd *cobra.Command, dir *string) {
	byDefault := ""
	if at := filepath.Join(device.DataMount, "system"); isDir(at) && isDir(device.RunDir) {
		byDefault = at
	}
	cmd.Flags().StringVar(dir, systemFlag, byDefault, "`directory` of an image's own files")
	_ = cmd.Flags().MarkHidden(systemFlag) // there is such a flag
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (p *program) places(system string) backup.Places {
	return backup.Places{Config: p.configPath, State: p.stateDir, System: system}
}

// checkRestored asks whether a daemon would start with a configuration.
func (p *program) checkRestored(file string) error {
	_, err := services.Check(file, p.overrides)
	return err
}

// deliver writes a file that only root may read, whole or not at all.
func (p *program) deliver(name string, data []byte) error {
	if name == "-" {
		_, err := p.out.Write(data)
		return err
	}
	if err := renameio.WriteFile(name, data, 0o600,
		renameio.WithTempDir(filepath.Dir(name))); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

func usage(message, hint string) error {
	return &api.HintedError{Err: errors.New(message), Hint: hint}
}

func hintCare(err error) error {
	return api.Hints{
		{backup.ErrExists, "add --replace to put the backup in its place; what is there is kept " +
			"aside"},
		{sealed.ErrWeak, "use several words: it protects all keys of this box"},
		{sealed.ErrPassphrase, "nothing was changed; try again"},
		{backup.ErrDamaged, "nothing was changed; copy the file again"},
		{backup.ErrNewer, "nothing was changed; update ztbridge first"},
		{os.ErrPermission, "run it as root"},
	}.Add(err)
}
