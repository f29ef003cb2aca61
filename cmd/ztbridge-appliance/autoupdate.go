package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/config"
	"ztbridge/image/device/box"
	"ztbridge/image/device/update"
)

func autoUpdate(log *slog.Logger) *cobra.Command {
	return &cobra.Command{
		Use:   "auto-update",
		Short: "Look for a newer version, install it, restart into it: what is due",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			updates := config.DefaultUpdates
			// A configuration with mistakes must not keep a repaired version away.
			if cfg, _, err := config.Load(box.Config, nil); err == nil {
				updates = cfg.Updates
			} else {
				log.Warn("updating as the image was built", "error", err)
			}
			channel, err := channelOf(updates)
			if err != nil || channel == config.UpdatesOff {
				return err
			}
			// Gone before it is tried: what fails is not tried again and again.
			wished := os.Remove(box.UpdateNow) == nil
			b := update.New()
			told, err := b.Step(cmd.Context(), update.Auto{Channel: channel, Now: wished,
				From: updates.Window.From, Until: updates.Window.Until,
				Get: update.GetSmall,
				Fetch: func(ctx context.Context, address string) (string, error) {
					return b.Download(ctx, address, false)
				}}, time.Now())
			if told != "" && err == nil {
				log.Info(told)
			}
			return err
		},
	}
}

// channelOf returns the configured channel, or the one that the image was built with.
func channelOf(u config.Updates) (string, error) {
	var release box.Release
	text, err := os.ReadFile(box.ReleaseFile)
	if err == nil {
		err = json.Unmarshal(text, &release)
	}
	if err != nil {
		return "", fmt.Errorf("reading the image's description: %w", err)
	}
	byDefault := config.UpdatesOff
	if release.AutoUpdate {
		byDefault = config.UpdatesStable
	}
	return cmp.Or(u.Channel, byDefault), nil
}
