package backup

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ztbridge/bridge/config"
	"ztbridge/bridge/pki"
	"ztbridge/bridge/sealed"
)

// manifestName is the first file of an archive; format is raised when older programs could not
// restore it.
const (
	manifestName = "ztbridge-backup.json"
	format       = 1
)

// Manifest says what a backup is of.
type Manifest struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of the program that made it
	Created time.Time `json:"created"`
	Host    string    `json:"host"`
}

// file is one file of a backup.
type file struct {
	part part
	name string // below the part's directory, with slashes
	mode fs.FileMode
	data []byte
}

// Write writes a backup of the box to w, encrypted with the passphrase, and returns how many files
// it holds. The endpoint's keys are not changed meanwhile. It needs a configuration without
// mistakes: others could not be restored. A passphrase that is too short is sealed.ErrWeak.
func Write(w io.Writer, at Places, version, passphrase string) (files int, err error) {
	return write(w, at, version, passphrase, 0)
}

func write(w io.Writer, at Places, version, passphrase string, work int) (int, error) {
	var all []file
	err := pki.New(filepath.Join(at.State, "pki")).Freeze(func() error {
		var err error
		all, err = collect(at)
		return err
	})
	if err != nil {
		return 0, err
	}
	plain, err := sealed.Seal(w, passphrase, work)
	if err != nil {
		return 0, err
	}
	host, _ := os.Hostname() // it only informs
	m := Manifest{Format: format, Version: version, Created: time.Now().UTC().Truncate(time.Second),
		Host: host}
	if err := errors.Join(pack(plain, m, all), plain.Close()); err != nil {
		return 0, fmt.Errorf("writing the backup: %w", err)
	}
	return len(all), nil
}

// collect reads all files of the box.
func collect(at Places) ([]file, error) {
	conf, err := config.LoadPortable(at.Config)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(at.Config)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	all := []file{{configPart, configName, info.Mode().Perm(), conf.Text}}
	size := len(conf.Text)
	state, err := filesIn(at.State, kept)
	if err != nil {
		return nil, err
	}
	node, err := filesIn(conf.ZeroTierHome,
		func(name string) bool { return allowed(zerotierPart, name) })
	if err != nil {
		return nil, err
	}
	system := map[string]string{}
	if at.System != "" {
		if system, err = filesIn(at.System,
			func(name string) bool { return allowed(systemPart, name) }); err != nil {
			return nil, err
		}
	}
	for _, p := range []struct {
		part  part
		files map[string]string
	}{{configPart, conf.Files}, {statePart, state}, {zerotierPart, node}, {systemPart, system}} {
		for _, name := range slices.Sorted(maps.Keys(p.files)) {
			f, err := readOne(p.part, name, p.files[name])
			if errors.Is(err, fs.ErrNotExist) && p.part != configPart {
				continue // it has just been removed
			}
			if err != nil {
				return nil, err
			}
			if size += len(f.data); size > maxBackup {
				return nil, fmt.Errorf("reading %s: with it the backup has more than %d MiB",
					p.files[name], maxBackup>>20)
			}
			all = append(all, f)
		}
	}
	return all, nil
}

func readOne(p part, name, from string) (file, error) {
	if !allowed(p, name) {
		return file{}, fmt.Errorf("reading %s: its name cannot be in a backup; rename it", from)
	}
	info, err := os.Stat(from)
	if err != nil {
		return file{}, err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return file{}, err
	}
	return file{p, name, info.Mode().Perm(), data}, nil
}

// pack writes the archive.
func pack(w io.Writer, m Manifest, all []file) error {
	t := tar.NewWriter(w)
	head, err := json.Marshal(m)
	if err != nil {
		return err
	}
	add := func(name string, mode fs.FileMode, data []byte) error {
		err := t.WriteHeader(&tar.Header{Name: name, Mode: int64(mode), Size: int64(len(data)),
			ModTime: m.Created, Typeflag: tar.TypeReg})
		if err != nil {
			return err
		}
		_, err = t.Write(data)
		return err
	}
	if err := add(manifestName, 0o600, append(head, '\n')); err != nil {
		return err
	}
	for _, f := range all {
		if err := add(string(f.part)+"/"+f.name, f.mode, f.data); err != nil {
			return err
		}
	}
	return t.Close()
}
