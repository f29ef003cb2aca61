package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"ztbridge/bridge/sealed"
)

// Errors of backups that cannot be restored.
var (
	// ErrNewer is returned for a backup of a newer version of this program.
	ErrNewer = errors.New("the backup was made by a newer version of ztbridge")
	// ErrDamaged is returned for what is no backup, or not all of one.
	ErrDamaged = errors.New("this is no whole backup of ztbridge")
)

// unpack decrypts and checks a backup. Nothing of it is believed before all of it was read: only
// the end proves that nothing was cut off.
func unpack(data []byte, passphrase string) (Manifest, []file, error) {
	plain, err := sealed.Open(bytes.NewReader(data), passphrase)
	if errors.Is(err, sealed.ErrPassphrase) {
		return Manifest{}, nil, err
	}
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	archive, err := io.ReadAll(io.LimitReader(plain, 2*maxBackup))
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return parse(archive)
}

// parse checks the files of an archive.
func parse(archive []byte) (Manifest, []file, error) {
	t := tar.NewReader(bytes.NewReader(archive))
	m, err := readManifest(t)
	if err != nil {
		return Manifest{}, nil, err
	}
	var all []file
	names, size := map[string]bool{}, 0
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		f, err := entry(h, t)
		if err != nil {
			return m, nil, err
		}
		size += len(f.data)
		if names[h.Name] || len(all) == maxFiles || size > maxBackup {
			return m, nil, fmt.Errorf("%w: %q is there twice, or it is too large", ErrDamaged,
				h.Name)
		}
		names[h.Name] = true
		all = append(all, f)
	}
	if !names[string(configPart)+"/"+configName] {
		return m, nil, fmt.Errorf("%w: it has no configuration", ErrDamaged)
	}
	return m, all, nil
}

func readManifest(t *tar.Reader) (Manifest, error) {
	h, err := t.Next()
	if err != nil || h.Name != manifestName {
		return Manifest{}, fmt.Errorf("%w: it does not begin with %s", ErrDamaged, manifestName)
	}
	var m Manifest
	if err := json.NewDecoder(t).Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("%w: reading %s: %w", ErrDamaged, manifestName, err)
	}
	if m.Format > format {
		return m, fmt.Errorf("%w (%s): update this one first", ErrNewer, m.Version)
	}
	return m, nil
}

// entry reads one file. A name may lead nowhere but below the directory of its part.
func entry(h *tar.Header, t *tar.Reader) (file, error) {
	where, name, _ := strings.Cut(h.Name, "/")
	if h.Typeflag != tar.TypeReg || !allowed(part(where), name) {
		return file{}, fmt.Errorf("%w: it holds %q, which no backup does", ErrDamaged, h.Name)
	}
	if h.Size > maxBackup {
		return file{}, fmt.Errorf("%w: %q is too large", ErrDamaged, h.Name)
	}
	data, err := io.ReadAll(t)
	if err != nil {
		return file{}, fmt.Errorf("%w: reading %q: %w", ErrDamaged, h.Name, err)
	}
	return file{part(where), name, fs.FileMode(h.Mode) & 0o777, data}, nil
}
