package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"ztbridge/bridge/decide"
	"ztbridge/policyroute"

	"github.com/google/renameio/v2"
)

// preferenceFile holds the name of the egress that a person chose, so that the choice survives a
// restart.
const preferenceFile = "egress-chosen"

// loadPreference returns the egress chosen by a person, empty if nobody chose.
func loadPreference(stateDir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, preferenceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading chosen egress: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// savePreference records the choice; an empty name forgets it.
func savePreference(stateDir, egress string) error {
	path := filepath.Join(stateDir, preferenceFile)
	if egress == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forgetting chosen egress: %w", err)
		}
		return nil
	}
	if err := writeFile(path, []byte(egress+"\n")); err != nil {
		return fmt.Errorf("recording chosen egress: %w", err)
	}
	return nil
}

// connectedFile remembers what lies behind the ingresses, for a daemon that starts while it cannot
// be asked.
const connectedFile = "behind.json"

// ingressFile remembers the interfaces by which clients entered when the daemon last ran, so that
// the guard can close them at boot even if the configuration cannot be read any more.
const ingressFile = "ingresses.json"

// rememberIngresses records by which interfaces clients enter, for the guard of the next boot,
// whenever they are others than before.
func (d *daemon) rememberIngresses(intent policyroute.Intent) {
	var ifaces []string
	for _, g := range intent.Ingresses {
		ifaces = append(ifaces, g.Iface)
	}
	if slices.Equal(ifaces, d.guarded) {
		return
	}
	if err := saveIngresses(d.opts.StateDir, slices.Clone(ifaces)); err != nil {
		d.opts.Logger.Warn("the guard of the next boot may know too little", "error", err)
		return
	}
	d.guarded = ifaces
}

// rememberConnected records what lies behind the ingresses, whenever it is something else than
// before.
func (d *daemon) rememberConnected(known map[string]decide.ConnectedPrefixes) {
	d.connected = known
	if reflect.DeepEqual(known, d.recorded) {
		return
	}
	if err := saveConnected(d.opts.StateDir, known); err != nil {
		d.opts.Logger.Warn("what lies behind the ingresses may be unknown after a restart", "error",
			err)
		return
	}
	d.recorded = known
}

func loadConnected(stateDir string) (map[string]decide.ConnectedPrefixes, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, connectedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out map[string]decide.ConnectedPrefixes
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what lies behind the ingresses: %w", err)
	}
	return out, nil
}

func saveConnected(stateDir string, known map[string]decide.ConnectedPrefixes) error {
	b, err := json.Marshal(known)
	if err == nil {
		err = writeFile(filepath.Join(stateDir, connectedFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("recording what lies behind the ingresses: %w", err)
	}
	return nil
}
func loadIngresses(stateDir string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, ingressFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading remembered ingresses: %w", err)
	}
	var out []string
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("reading remembered ingresses: %w", err)
	}
	return out, nil
}

// saveIngresses records the ingresses for the next boot.
func saveIngresses(stateDir string, ifaces []string) error {
	slices.Sort(ifaces)
	b, err := json.Marshal(slices.Compact(ifaces))
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(stateDir, ingressFile), append(b, '\n')); err != nil {
		return fmt.Errorf("remembering ingresses: %w", err)
	}
	return nil
}

// writeFile replaces a file in one step, so that a power cut leaves the old content or the new.
func writeFile(path string, data []byte) error {
	return renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(filepath.Dir(path)))
}
