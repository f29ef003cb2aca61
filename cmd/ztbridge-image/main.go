package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ztbridge/image/build"
)

func main() { os.Exit(runUntilSignal()) }

func runUntilSignal() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// errUsage marks what the person got wrong on the command line.
var errUsage = errors.New("usage")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use: "ztbridge-image", Short: "Build images, packages and user-data of ztbridge",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w", errUsage, err)
	})
	root.AddCommand(buildCommand(), lockCommand(), debCommand(), userDataCommand(), keygenCommand(),
		bundleCommand(), releaseCommand(), releaseKeysCommand(),
		publicKeyCommand())
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "error: %v\nhint: ztbridge-image help\n", err)
		return 2
	default:
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 1
	}
}

// progressTo shows steps as lines: a build's log must read well in a file too.
func progressTo(w io.Writer) build.Progress {
	return func(step, detail string) { fmt.Fprintf(w, "%-9s %s\n", step, detail) }
}
