package profile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxInlined bounds a file that a profile refers to, in bytes.
const maxInlined = 256 << 10

// Load reads the profile at path, with the files that it refers to from the same directory.
// options.Files is ignored.
func Load(path string, options Options) (*Profile, Report, error) {
	read, err := DirFiles(filepath.Dir(path), options.Withheld)
	if err != nil {
		return nil, Report{}, fmt.Errorf("reading profile: %w", err)
	}
	// Opening a named pipe would wait for somebody to write into it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, Report{}, &Error{Name: filepath.Base(path), Reason: "it is not a file; name " +
			"a profile (.ovpn), or a folder or ZIP archive of them by profiles:"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, Report{}, fmt.Errorf("reading profile: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxProfile+1))
	if err != nil {
		return nil, Report{}, fmt.Errorf("reading profile: %w", err)
	}
	options.Files = read
	return Parse(data, filepath.Base(path), options)
}

// errWithheld is a file that the profile may not have.
var errWithheld = errors.New("the configuration has other secrets in this file")

// DirFiles returns a reader of the plain files in dir, by name alone: no other directory, no
// symbolic link, nothing that is not a regular file, at most 256 KiB, and none of those withheld.
func DirFiles(dir string, withheld []string) (FileReader, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	return func(name string) ([]byte, error) {
		name = strings.TrimPrefix(name, "./")
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
			return nil, errors.New("only files in the profile's own directory are read")
		}
		if slices.Contains(withheld, name) {
			return nil, errWithheld
		}
		return readPlain(dir, name)
	}, nil
}

func readPlain(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Lstat(name)
	if place, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, place.Err // the name is known to who asked
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) {
		return nil, errors.New("it changed while it was read")
	}
	return readLimited(f, maxInlined)
}
