package main

import (
	"context"
	"errors"
	"fmt"

	"ztbridge/bridge/api"
	"ztbridge/bridge/backup"
	"ztbridge/bridge/services"
)

// restoreServices stops and starts what systemd manages, and refuses while a daemon runs that it
// does not.
type restoreServices struct {
	backup.Systemd
	program *program
}

// Stop implements backup.Services.
func (s *restoreServices) Stop(ctx context.Context) error {
	if backup.HasSystemd() {
		if err := s.Systemd.Stop(ctx); err != nil {
			return err
		}
	}
	if _, err := s.program.daemon().Status(ctx); !errors.Is(err, api.ErrNotRunning) {
		err = &api.HintedError{Err: fmt.Errorf("restoring: %w", services.ErrRunning),
			Hint: "stop it first; nothing was changed"}
		return errors.Join(err, s.Start(context.WithoutCancel(ctx)))
	}
	return nil
}

// Start implements backup.Services.
func (s *restoreServices) Start(ctx context.Context) error {
	if !backup.HasSystemd() {
		return nil
	}
	return s.Systemd.Start(ctx)
}
