package zerotier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/statefile"
)

// blacklist are the prefixes of interface names on which the service must never open sockets. They
// are our own tunnels, and tun* as a whole. Otherwise it would take a provider's tunnel for one of
// its paths. The service leaves tun* alone by itself today; this holds if it ever stops.
var blacklist = []string{"tunztb", "tun"}

// errLocalConf is returned for a local.conf that the service itself would refuse to start with.
var errLocalConf = errors.New("local.conf is no JSON object")

// mergeBlacklist returns local.conf with our prefixes in settings.interfacePrefixBlacklist, and
// reports whether it changed. Everything else stays as it was. It fails with errLocalConf.
func mergeBlacklist(raw []byte) (merged []byte, changed bool, err error) {
	root, err := object(raw)
	if err != nil {
		return nil, false, err
	}
	settings, err := object(root["settings"])
	if err != nil {
		return nil, false, fmt.Errorf("settings: %w", err)
	}
	var list []json.RawMessage
	if have := settings["interfacePrefixBlacklist"]; have != nil &&
		json.Unmarshal(have, &list) != nil {
		return nil, false, fmt.Errorf("settings.interfacePrefixBlacklist: %w: want a list",
			errLocalConf)
	}
	for _, prefix := range blacklist {
		text := json.RawMessage(`"` + prefix + `"`)
		if !slices.ContainsFunc(list,
			func(m json.RawMessage) bool { return bytes.Equal(m, text) }) {
			list, changed = append(list, text), true
		}
	}
	if !changed {
		return raw, false, nil
	}
	if settings["interfacePrefixBlacklist"], err = json.Marshal(list); err != nil {
		return nil, false, err
	}
	if root["settings"], err = json.Marshal(settings); err != nil {
		return nil, false, err
	}
	merged, err = json.MarshalIndent(root, "", "  ")
	return append(merged, '\n'), true, err
}

// object reads a JSON object without interpreting its values. Nothing, and null, are the empty one.
func object(raw []byte) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(raw)) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("%w: %w", errLocalConf, err)
	}
	if out == nil {
		out = map[string]json.RawMessage{}
	}
	return out, nil
}

// ensureLocalConf puts our prefixes into the local.conf of a home directory, and reports whether it
// had to. It writes the file and not the API: POST /config/settings would write back what the
// service read some time ago, over whatever was edited since. The file is replaced at once, because
// a running service that reads half of it exits.
func ensureLocalConf(home string) (wrote bool, err error) {
	path := filepath.Join(home, "local.conf")
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("reading local.conf: %w", err)
	}
	merged, changed, err := mergeBlacklist(raw)
	if err != nil {
		return false, fmt.Errorf("merging into %s: %w", path, err)
	}
	if !changed {
		return false, nil
	}
	if err := replaceFile(path, merged, 0o644); err != nil {
		return false, fmt.Errorf("writing local.conf: %w", err)
	}
	return true, nil
}

// replaceFile replaces a file at once and durably. The new one has the mode and owner of the old,
// or the mode given and the owner of its directory: the service often runs as a user of its own.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	model, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if model, err = os.Stat(filepath.Dir(path)); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		mode = model.Mode().Perm()
	}
	return statefile.Replace(path, data, mode, model)
}

// effective reports whether the running service keeps its own packets off our tunnels.
func (a configAnswer) effective() bool {
	return slices.ContainsFunc(a.Settings.InterfacePrefixBlacklist, func(v any) bool {
		s, ok := v.(string)
		return ok && s != "" && strings.HasPrefix(blacklist[0], s)
	})
}

// rereadLocalConf makes the running service read local.conf again. Every 10 s it looks whether the
// file changed within the last 10 s, in whole seconds, and so misses about one write in ten.
func rereadLocalConf(home string, now time.Time) error {
	return os.Chtimes(filepath.Join(home, "local.conf"), now, now)
}
