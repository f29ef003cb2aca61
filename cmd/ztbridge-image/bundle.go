package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/image/build/release"
	"ztbridge/image/device/update"
)

func keygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen NAME",
		Short: "Make a key pair to sign updates with: NAME.key and NAME.pub",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return fmt.Errorf("making keys: %w", err)
			}
			for _, key := range []struct {
				name string
				mode os.FileMode
				data []byte
			}{{args[0] + ".key", 0o600, private.Seed()}, {args[0] + ".pub", 0o644, public}} {
				if err := release.WriteKey(key.name, update.EncodeKey(key.data),
					key.mode); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), key.name)
			}
			return nil
		},
	}
}

func bundleCommand() *cobra.Command {
	var target, version, slot, keyFile, out, date string
	cmd := &cobra.Command{
		Use:   "bundle --target TARGET --version VERSION --slot FILE --key FILE -o FILE",
		Short: "Sign a slot that `build` has written as an update",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if target == "" || version == "" || slot == "" || keyFile == "" || out == "" {
				return fmt.Errorf("%w: --target, --version, --slot, --key and -o are needed",
					errUsage)
			}
			created, err := time.Parse(time.DateOnly, date)
			if err != nil {
				return fmt.Errorf("%w: --date: want YYYY-MM-DD, not %q", errUsage, date)
			}
			text, err := os.ReadFile(keyFile)
			if err != nil {
				return fmt.Errorf("reading the signing key: %w", err)
			}
			key, err := update.DecodePrivateKey(text)
			if err != nil {
				return err
			}
			manifest := update.Manifest{Target: target, Version: version, Created: created}
			f, err := os.Create(out)
			if err != nil {
				return fmt.Errorf("writing the bundle: %w", err)
			}
			if err := errors.Join(update.Write(f, manifest, slot, key), f.Close()); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), out)
			return nil
		},
	}
	cmd.Flags().StringVar(&target, "target", "", "the image's target")
	cmd.Flags().StringVar(&version, "version", "", "the image's version")
	cmd.Flags().StringVar(&date, "date", time.Now().UTC().Format(time.DateOnly),
		"day of the packages in the slot: boxes tell when a bundle is old")
	cmd.Flags().StringVar(&slot, "slot", "", "the build's .slot.zst")
	cmd.Flags().StringVar(&keyFile, "key", "", "private key of keygen")
	cmd.Flags().StringVarP(&out, "output", "o", "", "bundle to write")
	return cmd
}
