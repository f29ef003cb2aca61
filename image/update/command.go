package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ztbridge/image/box"
)

// New is the running box.
func New() *Box {
	return &Box{
		RunDir: box.RunDir, ConfigDir: box.ConfigMount, DataDir: box.DataMount,
		ReleaseFile: box.ReleaseFile, KeyFile: box.UpdateKey,
		Config:   box.Config,
		Writable: remount,
		Restart: func(ctx context.Context) error {
			return exec.CommandContext(ctx, "systemctl",
				"reboot").Run()
		},
		Health: daemonHealth,
		Setup: func(ctx context.Context) error {
			return exec.CommandContext(ctx, "systemctl", "is-active", "--quiet",
				"ztbridge-setup.service").Run()
		},
	}
}

func remount(writable bool) error {
	flags := uintptr(unix.MS_REMOUNT | unix.MS_RDONLY)
	if writable {
		flags = unix.MS_REMOUNT | unix.MS_SYNCHRONOUS
	}
	return unix.Mount("", box.ConfigMount, "", flags, "")
}

// Command is `ztbridge update`.
func Command() *cobra.Command {
	b := New()
	var stay bool
	cmd := &cobra.Command{
		Use:   "update FILE|URL",
		Short: "Bring a signed update into the other slot, and try it",
		Long: `Verify a signed bundle, write it to the slot that does not run, and restart into it once.
The new system stays only when it is as healthy as the old one; otherwise, and after a crash
or a hang, the old one starts again by itself.

Only the ztbridge image has slots. A machine with the Debian package is updated by its
package.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return b.runUpdate(cmd, args[0], stay)
		},
	}
	cmd.Flags().BoolVar(&stay, "no-restart", false, "try it at the next start, whenever that is")
	cmd.AddCommand(b.statusCommand(), b.rollbackCommand())
	return cmd
}

func (b *Box) runUpdate(cmd *cobra.Command, source string, stay bool) error {
	name := source
	if strings.Contains(source, "://") {
		fmt.Fprintln(cmd.ErrOrStderr(), "downloading")
		file, err := b.download(cmd.Context(), source)
		if err != nil {
			return err
		}
		defer os.Remove(file)
		name = file
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("opening the bundle: %w", err)
	}
	defer f.Close()
	fmt.Fprintln(cmd.ErrOrStderr(), "verifying, and writing the other slot")
	manifest, err := b.Apply(cmd.Context(), f)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "version %s is ready to be tried\n", manifest.Version)
	if stay {
		return nil
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "restarting")
	if err := b.Restart(cmd.Context()); err != nil {
		return fmt.Errorf("restarting: %w", err)
	}
	return nil
}

// downloadTimeout is for a slow line: 150 MB at one megabit a second.
const downloadTimeout = 20 * time.Minute

// download brings the bundle to the data partition. It need not be trusted: the signature is what
// counts.
func (b *Box) download(ctx context.Context, address string) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("downloading: the server answered %s", resp.Status)
	}
	dir := filepath.Join(b.DataDir, "update")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	// one name: what an interrupted download left is overwritten
	name = filepath.Join(dir, "bundle")
	f, err := os.Create(name)
	if err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	_, err = io.Copy(f, resp.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("downloading: %w", errors.Join(err, os.Remove(name)))
	}
	return name, nil
}

func (b *Box) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Say which slot and version run, and what became of the last trial",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := b.Status()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
			}
			meaning := map[State]string{
				Settled: "in use", Prepared: "in use; the other slot is tried at the next start",
				Trying:   "on trial",
				FellBack: "in use again: the other slot failed its trial, see /data/log",
			}
			fmt.Fprintf(cmd.OutOrStdout(), "slot %s  version %s  %s\n", s.Slot, s.Version,
				meaning[s.State])
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (b *Box) rollbackCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rollback",
		Short: "Restart into the other system and try it; or cancel an update that waits for its " +
			"trial",
		Long: `Restart into the other slot, the system before the last update, and try it as an update is
tried: it stays when it is as healthy as the one that runs, whatever is wrong with that one;
otherwise this one starts again by itself.

An update that waits for its trial is cancelled instead, and nothing is restarted. One that
is on trial is ended: the system before it is in use again from the restart on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := b.Rollback(cmd.Context())
			if err != nil {
				return err
			}
			done := map[State]string{
				Prepared: "the trial is cancelled; the system that runs stays in use",
				Trying:   "the trial is over; the other system is in use again",
				Settled:  "the other system is ready to be tried",
				FellBack: "the other system is ready to be tried once more",
			}
			fmt.Fprintln(cmd.OutOrStdout(), done[found])
			if found == Prepared {
				return nil
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "restarting")
			if err := b.Restart(cmd.Context()); err != nil {
				return fmt.Errorf("restarting: %w", err)
			}
			return nil
		},
	}
}
