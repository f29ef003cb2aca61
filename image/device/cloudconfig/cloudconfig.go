package cloudconfig

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Folder is where the daemon's configuration lies on the machine.
const Folder = "/etc/ztbridge"

// header tells cloud-init, and us, what a text is.
const header = "#cloud-config"

// ErrForeign reports user-data in another of cloud-init's formats: a script, an archive, a
// compressed text.
var ErrForeign = errors.New("the user-data is not in cloud-config format")

// Config is the user-data.
type Config struct {
	PackageUpdate bool       `yaml:"package_update"`
	Packages      []string   `yaml:"packages"`
	Apt           *Apt       `yaml:"apt,omitempty"`
	Files         []File     `yaml:"write_files"`
	RunCmd        [][]string `yaml:"runcmd"`
}

// Apt names repositories to add.
type Apt struct {
	Sources map[string]Source `yaml:"sources"`
}

// Source is a repository and the key that its indexes are signed with.
type Source struct {
	Source string `yaml:"source"`
	Key    string `yaml:"key"`
}

// File is a file to write.
type File struct {
	Path        string `yaml:"path"`
	Owner       string `yaml:"owner"`
	Permissions string `yaml:"permissions"`
	Encoding    string `yaml:"encoding,omitempty"`
	Content     string `yaml:"content"`
}

// Encode writes the user-data.
func (c Config) Encode() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(header +
		"\n# Written by ztbridge-image user-data. It holds secrets: treat it like the files that " +
		"it was made from.\n")
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(c), encoder.Close()); err != nil {
		return nil, fmt.Errorf("encoding user-data: %w", err)
	}
	return out.Bytes(), nil
}

// Configuration returns the files that user-data puts into Folder, by their names there. Everything
// else in it is for stock images and passed over.
func Configuration(userData []byte) (map[string][]byte, error) {
	first, _, _ := strings.Cut(string(userData), "\n")
	if strings.TrimSpace(first) != header {
		return nil, ErrForeign
	}
	var c struct {
		// alone: people add keys whose values have other types than ours
		Files []File `yaml:"write_files"`
	}
	if err := yaml.Unmarshal(userData, &c); err != nil {
		return nil, fmt.Errorf("reading user-data: %w", err)
	}
	files := map[string][]byte{}
	for _, f := range c.Files {
		clean := path.Clean(f.Path)
		if path.Dir(clean) != Folder {
			continue
		}
		if f.Encoding != "" {
			return nil, fmt.Errorf("reading user-data: %s is encoded as %q; write it as plain text",
				clean, f.Encoding)
		}
		files[path.Base(clean)] = []byte(f.Content)
	}
	return files, nil
}
