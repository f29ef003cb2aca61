package importer

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ztbridge/bridge/openvpn/profile"
)

// MaxFile bounds what a provider's file may hold, in bytes: an archive of all servers of a large
// provider has about 20 MB.
const MaxFile = 32 << 20

// source is a provider's file with those that it refers to.
type source struct {
	name       string            // of the file itself
	files      map[string][]byte // by name
	collection bool
	parsed     *profile.Profile
	report     profile.Report
}

// Load reads and checks a profile, or the profiles of a ZIP archive or folder.
func Load(file string, pick []string, o profile.Options) (*profile.Profile, profile.Report, error) {
	if profile.IsCollection(file) {
		return profile.LoadAll(file, pick, o)
	}
	return profile.Load(file, o)
}

// readSource reads and checks a provider's file.
func readSource(file string, pick []string, o profile.Options) (*source, error) {
	s := &source{name: CleanName(filepath.Base(file)), files: map[string][]byte{},
		collection: profile.IsCollection(file)}
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	s.files[s.name] = data
	if s.collection {
		s.parsed, s.report, err = profile.LoadAll(file, pick, o)
		return s, err
	}
	if len(pick) > 0 {
		return nil, fmt.Errorf("%s is one profile: there is nothing to pick", s.name)
	}
	read, err := profile.DirFiles(filepath.Dir(file), o.Withheld)
	if err != nil {
		return nil, fmt.Errorf("reading the profile: %w", err)
	}
	o.Files = func(name string) ([]byte, error) {
		data, err := read(name)
		beside := strings.TrimPrefix(name, "./")
		if err == nil && (beside == s.name || beside == loginFile) {
			err = fmt.Errorf("it cannot be kept under the name %s: give it another one", beside)
		}
		if err == nil {
			s.files[beside] = data
		}
		return data, err
	}
	s.parsed, s.report, err = profile.Parse(data, s.name, o)
	return s, err
}

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("opening the profile: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the profile: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file; name a profile (.ovpn) or a ZIP archive of them",
			file)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the profile: %w", err)
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%s is larger than %d MB", file, MaxFile>>20)
	}
	return data, nil
}

// maxName bounds the name of a file, in bytes.
const maxName = 80

// CleanName returns a name for a provider's file that needs no quotes anywhere and is not hidden.
func CleanName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9',
			r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, name)
	if len(name) > maxName {
		name = name[len(name)-maxName:]
	}
	name = strings.TrimLeft(name, ".-")
	if name == "" || name == loginFile {
		return "provider.ovpn"
	}
	return name
}
