package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/image/device/update"
)

func updateCommand(b *update.Box) *cobra.Command {
	var options updateOptions
	cmd := &cobra.Command{
		Use:   "update FILE|URL",
		Short: "Install a signed update in the other slot, and try it",
		Long: `Verify a signed bundle, write it to the slot that does not run, and restart into it once.
The new system stays only when it is as healthy as the old one; otherwise, and after a crash
or a hang, the old one starts again by itself.

Only the ztbridge image has slots. A machine with the Debian package is updated by its
package.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			return options.run(cmd, b, args[0])
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&options.stay, "no-restart", false, "try it at the next start, whenever that is")
	flags.BoolVar(&options.downgrade, "allow-downgrade", false,
		"take an older version than the one that runs, with the security holes it may have")
	flags.BoolVar(&options.insecure, "insecure", false,
		"download by http, or from a server whose certificate cannot be checked")
	cmd.AddCommand(updateStatusCommand(b), rollbackCommand(b))
	return cmd
}

type updateOptions struct{ stay, downgrade, insecure bool }

func (o updateOptions) run(cmd *cobra.Command, b *update.Box, source string) error {
	name := source
	if strings.Contains(source, "://") {
		fmt.Fprintln(cmd.ErrOrStderr(), "downloading")
		file, err := b.Download(cmd.Context(), source, o.insecure)
		if err != nil {
			return withHint(err)
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
	manifest, err := b.Apply(cmd.Context(), f, o.downgrade)
	if err != nil {
		return withHint(err)
	}
	if age := manifest.Age(time.Now()); age != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", age)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "version %s is ready to be tried\n", manifest.Version)
	if o.stay {
		return nil
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "restarting")
	if err := b.Restart(cmd.Context()); err != nil {
		return fmt.Errorf("restarting: %w", err)
	}
	return nil
}

func updateStatusCommand(b *update.Box) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show which slot and version run, and how the last update went",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := b.Status()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
			}
			meaning := map[update.State]string{
				update.InUse:    "in use",
				update.Prepared: "in use; the other slot is tried at the next start",
				update.Trying:   "on trial",
				update.FellBack: "in use again: the other slot failed its trial, see /data/log",
			}
			fmt.Fprintf(cmd.OutOrStdout(), "slot %s  version %s  %s\n", s.Slot, s.Version,
				meaning[s.State])
			if told := b.AutoTold(); told != "" {
				fmt.Fprintln(cmd.OutOrStdout(), told)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func rollbackCommand(b *update.Box) *cobra.Command {
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
			done := map[update.State]string{
				update.Prepared: "the trial is cancelled; the system that runs stays in use",
				update.Trying:   "the trial is over; the other system is in use again",
				update.InUse:    "the other system is ready to be tried",
				update.FellBack: "the other system is ready to be tried once more",
			}
			fmt.Fprintln(cmd.OutOrStdout(), done[found])
			if found == update.Prepared {
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

// withHint adds what a person can do about an update that was refused.
func withHint(err error) error {
	return api.Hints{
		{update.ErrDowngrade, "to go back to it all the same, add --allow-downgrade"},
		{update.ErrInsecure, "use an https address, or add --insecure: the signature is checked " +
			"all the same"},
		{update.ErrNoSpace, "look for large files with `du -x /data`"},
	}.Add(err)
}
