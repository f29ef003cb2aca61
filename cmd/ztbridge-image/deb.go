package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/image/build/deb"
)

func debCommand() *cobra.Command {
	var source, version, out, date string
	var arches []string
	cmd := &cobra.Command{
		Use:   "deb -o FOLDER",
		Short: "Build the Debian packages",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return fmt.Errorf("%w: -o is missing", errUsage)
			}
			when, err := time.Parse(time.DateOnly, date)
			if err != nil {
				return fmt.Errorf("%w: --date: want YYYY-MM-DD, not %q", errUsage, date)
			}
			for _, arch := range arches {
				progressTo(cmd.ErrOrStderr())("deb", "compiling and packing for "+arch)
				name, err := deb.Build(cmd.Context(),
					deb.Options{Source: source, Arch: arch, Version: version, Date: when, Out: out})
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), name)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&source, "source", ".", "checkout to compile")
	cmd.Flags().StringVar(&version, "version", "0.0.0", "version of the packages")
	cmd.Flags().StringVar(&date, "date", "2026-01-01", "date of everything in the packages")
	cmd.Flags().StringSliceVar(&arches, "arch", deb.Architectures, "architectures")
	cmd.Flags().StringVarP(&out, "output", "o", "", "folder to write to")
	return cmd
}
