package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ztbridge/image/build"
	"ztbridge/image/build/pkglock"
)

func lockCommand() *cobra.Command {
	var target, out, mirror, keyring, suite, kernel string
	cmd := &cobra.Command{
		Use:   "lock --target TARGET -o FILE",
		Short: "Resolve a target's packages again and write its lock file",
		Long: `Resolve a target's packages from the archive's signed indexes, with apt in a root of its
own, and write names, versions and SHA-256 sums. Nothing is installed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			profile, err := build.ProfileOf(target, suite, build.KernelSource(kernel))
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			if out == "" {
				return fmt.Errorf("%w: -o is missing", errUsage)
			}
			mirror, err := mirrorOr(cmd.Context(), mirror)
			if err != nil {
				return err
			}
			work, err := os.MkdirTemp("", "ztbridge-lock-*")
			if err != nil {
				return fmt.Errorf("making apt's root: %w", err)
			}
			defer os.RemoveAll(work)
			lock, err := pkglock.Resolve(cmd.Context(), pkglock.Request{
				Suite: profile.Suite, Arch: profile.Arch, Components: profile.Components,
				Mirror: mirror, Keyring: keyring,
				Install: profile.Packages, Unpack: profile.Unpack,
				Backports: profile.Kernel == build.BackportsKernel}, work)
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, []byte(lock.String()), 0o644); err != nil {
				return fmt.Errorf("writing lock: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), out)
			return nil
		},
	}
	cmd.Flags().StringVar(&target, "target", "", "cloud-amd64, cloud-arm64 or rpi-arm64")
	releaseFlags(cmd.Flags(), &suite, &kernel)
	cmd.Flags().StringVarP(&out, "output", "o", "", "lock file to write")
	cmd.Flags().StringVar(&mirror, "mirror", "",
		"base address above debian/ and debian-security/ (default: the one that this machine's "+
			"apt uses)")
	cmd.Flags().StringVar(&keyring, "keyring", "/usr/share/keyrings/debian-archive-keyring.gpg",
		"keys that the archive's indexes must be signed with")
	return cmd
}

// releaseFlags registers what chooses between the locks of one target.
func releaseFlags(flags *pflag.FlagSet, suite, kernel *string) {
	flags.StringVar(suite, "suite", "trixie", "release of Debian: trixie or forky")
	flags.StringVar(kernel, "kernel", string(build.SuiteKernel),
		"the suite's own kernel, or a newer one of its backports: suite or backports")
}
