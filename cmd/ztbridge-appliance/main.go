package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/image/device/appliance"
	"ztbridge/image/device/box"
	"ztbridge/image/device/update"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func command() *cobra.Command {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	root := &cobra.Command{Use: "ztbridge-appliance",
		Short: "What the units of the ztbridge image run", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(
		&cobra.Command{
			Use: "setup", Short: "Mount the data partition and take over the user's files",
			Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				err := newSetup(log).Perform(cmd.Context())
				if appliance.MerelyUnconfigured(err) {
					// who is told already; the set-up itself has worked
					log.Warn("the set-up waits for a person", "error", err)
					return nil
				}
				return err
			},
		},
		&cobra.Command{
			Use: "console", Short: "Show the daemon's status on the console", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return appliance.NewReporter(daemonStatus, log).Run(cmd.Context())
			},
		},
		metadata(log),
		keepLog(),
		endTrial(log),
		autoUpdate(log),
	)
	return root
}

// newSetup is the box's setup, which learns from the daemon's own parser what a configuration
// names.
func newSetup(log *slog.Logger) *appliance.Setup {
	s := appliance.New(log)
	s.Named = config.NamedFiles
	return s
}

// daemonSocket is where the daemon of ztbridge.service listens.
const daemonSocket = "/run/ztbridge/" + api.SocketName

var errStarting = errors.New("the daemon is starting")

// daemonStatus returns what `ztbridge status` prints, without a process each time.
func daemonStatus(ctx context.Context) (string, error) {
	s, err := api.Dial(daemonSocket).Status(ctx)
	switch {
	case err != nil:
		return "", err
	case s.State == api.Starting:
		return "", errStarting
	}
	return api.Render(s), nil
}

// metadataTimeout is how long the network may take. The daemon waits for it, and would have
// nothing to do.
const metadataTimeout = 3 * time.Minute

func metadata(log *slog.Logger) *cobra.Command {
	return &cobra.Command{
		Use: "metadata", Short: "Take over the configuration that the machine was created with",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), metadataTimeout)
			defer cancel()
			return newSetup(log).TakeMetadata(ctx, appliance.OracleMetadata())
		},
	}
}

func keepLog() *cobra.Command {
	var unlessSuccess bool
	cmd := &cobra.Command{
		Use: "keep-log REASON", Short: "Keep the journal's tail on the data partition",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// systemd tells ExecStopPost= how the service ended.
			if unlessSuccess && os.Getenv("SERVICE_RESULT") == "success" {
				return nil
			}
			return appliance.KeepLog(cmd.Context(), filepath.Join(box.DataMount, "log"), args[0])
		},
	}
	cmd.Flags().BoolVar(&unlessSuccess, "unless-success", false,
		"do nothing when the service that stopped had succeeded")
	return cmd
}

// trialTimeout is how long a system on trial may take to become as healthy as the one before.
// Tunnels have to connect, and a provider may be slow. The console shows what it waits for.
const trialTimeout = 4 * time.Minute

// trialSteady is longer than a probe takes to find a dead tunnel, and than systemd takes to restart
// a crashed daemon.
const trialSteady = 25 * time.Second

func endTrial(log *slog.Logger) *cobra.Command {
	return &cobra.Command{
		Use:   "end-trial",
		Short: "End the trial of a system: keep it, or restart into the one before",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := update.New()
			err := b.EndTrial(cmd.Context(), update.Trial{Timeout: trialTimeout,
				Every: 5 * time.Second, Steady: trialSteady, Looks: 5})
			if !errors.Is(err, update.ErrUnhealthy) {
				return err
			}
			log.Error("going back to the system before", "error", err)
			appliance.WriteConsole("error: " + err.Error() + "; going back")
			if err := appliance.KeepLog(cmd.Context(), filepath.Join(box.DataMount, "log"),
				"update"); err != nil {
				log.Error("keeping the log", "error", err)
			}
			return b.Restart(cmd.Context())
		},
	}
}
