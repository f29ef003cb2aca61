package client

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ztbridge/bridge/statefile"
)

// Prefer makes a profile of a collection the next to be tried, and reconnects to it at once. It is
// the first to be tried after a restart, too. An empty name forgets that and keeps the connection.
// It reports whether the collection has the profile. The error is of the file that remembers it.
func (t *Tunnel) Prefer(member string) (bool, error) {
	if member != "" && !slices.Contains(t.cfg.Profile.Members(), member) {
		return false, nil
	}
	err := t.remember(member)
	if member != "" {
		t.ask(request{cause: "server " + member + " was selected", restart: true, member: member})
	}
	return true, err
}

func (t *Tunnel) selectedPath() string {
	return filepath.Join(t.cfg.StateDir, t.cfg.Name+".server")
}

// remember writes the name of the profile that was selected.
func (t *Tunnel) remember(member string) error {
	if member == "" {
		if err := os.Remove(t.selectedPath()); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("forgetting the selected server: %w", err)
		}
		return nil
	}
	err := os.MkdirAll(t.cfg.StateDir, 0o700)
	if err == nil {
		err = statefile.WriteLine(t.selectedPath(), member)
	}
	if err != nil {
		return fmt.Errorf("remembering the selected server: %w", err)
	}
	return nil
}

// selected returns the name of the profile that was selected last, if the collection has it still.
func (t *Tunnel) selected() string {
	data, err := os.ReadFile(t.selectedPath())
	name := strings.TrimSuffix(string(data), "\n")
	if err != nil || !slices.Contains(t.cfg.Profile.Members(), name) {
		return ""
	}
	return name
}
