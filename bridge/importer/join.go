package importer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ztbridge/bridge/config"
	"ztbridge/bridge/services"
)

// Join writes a network's id into the configuration, in place of another one unless that is empty,
// and has the daemon read it. On an error all is as it was before. It does not wait for the
// network: its controller may have to let the box in.
func (i *Import) Join(ctx context.Context, id, instead string) error {
	path, running, err := i.find(ctx)
	if err != nil {
		return err
	}
	s, err := openStore(filepath.Dir(path)) // one change at a time
	if err != nil {
		return err
	}
	defer s.close()
	before, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	after, err := config.WithNetwork(before, id, instead)
	if err != nil {
		return editError(err, path)
	}
	if _, err := services.LoadText(path, after, i.Overrides); err != nil {
		return fmt.Errorf("checking the configuration with the network: %w", err)
	}
	if err := exchange(path, before, after); err != nil || !running {
		return err
	}
	if err := i.Daemon.Reload(ctx); err != nil {
		return errors.Join(err, i.undo(ctx, s, path, before, after, ""))
	}
	return nil
}
