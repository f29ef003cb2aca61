package main

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/image/build/release"
	"ztbridge/image/device/update"
)

func releaseCommand() *cobra.Command {
	var o release.Options
	var date, keys string
	cmd := &cobra.Command{
		Use:   "release --version VERSION --keys FOLDER -o FOLDER",
		Short: "Make the tree that a release is served from",
		Long: `Make a tree that any static web host can serve: packages, a signed apt repository, static
programs, manual pages, signed update bundles and their channel file, and signed sums. The
same checkout, version, date and keys make the same bytes.

Images are made by "build" before, with names that begin with ztbridge-TARGET, and are taken
from the folder --images.

The keys are files made by "release-keys"; the variables ZTBRIDGE_RELEASE_KEY and
ZTBRIDGE_APT_KEY may hold their content instead.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Out == "" || o.Version == "" {
				return fmt.Errorf("%w: --version and -o are needed", errUsage)
			}
			var err error
			if o.Date, err = time.Parse(time.RFC3339, date); err != nil {
				return fmt.Errorf("%w: --date: want YYYY-MM-DDTHH:MM:SSZ, not %q", errUsage, date)
			}
			if o.Keys, err = release.LoadKeys(keys); err != nil {
				return err
			}
			o.Progress = progressTo(cmd.ErrOrStderr())
			if err := release.Make(cmd.Context(), o); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), o.Out)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Source, "source", ".", "checkout to compile")
	flags.StringVar(&o.Version, "version", "", "version, as Debian writes it: 1.2.3")
	flags.StringVar(&o.Commit, "commit", "", "commit, told by the programs")
	flags.StringVar(&date, "date", "2026-01-01T00:00:00Z", "date of everything in the tree")
	flags.StringVar(&keys, "keys", "release-keys", "folder with the keys to sign with")
	flags.StringVar(&o.URL, "url", "", "https address that the tree will be served at")
	flags.StringVar(&o.Images, "images", "", "folder with images to include")
	flags.StringVarP(&o.Out, "output", "o", "", "folder to write to")
	return cmd
}

func publicKeyCommand() *cobra.Command {
	var keys string
	cmd := &cobra.Command{
		Use:   "public-key --keys FOLDER",
		Short: "Print the key that boxes check updates with",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := release.LoadKeys(keys)
			if err != nil {
				return err
			}
			public := k.Release.Public().(ed25519.PublicKey)
			_, err = cmd.OutOrStdout().Write(update.EncodeKey(public))
			return err
		},
	}
	cmd.Flags().StringVar(&keys, "keys", "release-keys", "folder with the keys")
	return cmd
}

func releaseKeysCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "release-keys FOLDER",
		Short: "Make a set of keys to sign releases with",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := release.MakeKeys(args[0])
			if err != nil {
				return err
			}
			for _, file := range files {
				fmt.Fprintln(cmd.OutOrStdout(), file)
			}
			return nil
		},
	}
}
