package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// DefaultPath is where the configuration is looked for.
const DefaultPath = "/etc/ztbridge/ztbridge.yaml"

// Load reads the configuration and every file that it names. On a mistake the error is of type
// Errors and holds all that were found; the Config is nil then, and nothing of it should be used.
func Load(path string, overrides Overrides) (*Config, []Warning, error) {
	abs, text, err := readConfig(path)
	if err != nil {
		return nil, nil, err
	}
	return LoadText(abs, text, overrides)
}

// LoadText is Load of a configuration that has this text and is, or shall be, at the absolute path.
func LoadText(path string, text []byte, overrides Overrides) (*Config, []Warning, error) {
	return decodeText(path, text, overrides).result()
}

// decodeText reads a configuration and the files that it names, and collects its mistakes.
func decodeText(path string, text []byte, overrides Overrides) *decoder {
	d := newDecoder(path)
	d.parse(text, overrides)
	if len(d.errs) == 0 {
		d.readFiles()
	}
	return d
}

// readConfig returns the absolute path of a configuration, and its text.
func readConfig(path string) (abs string, text []byte, err error) {
	abs, err = filepath.Abs(path)
	if err != nil {
		return "", nil, fmt.Errorf("finding the configuration %s: %w", path, err)
	}
	text, err = readRegular(abs, func(fs.FileMode) error { return nil })
	if err != nil {
		return "", nil, Errors{configFileError(abs, err)}
	}
	return abs, text, nil
}

func configFileError(path string, err error) *Error {
	e := &Error{Position: Position{File: path}, Err: errors.Join(ErrFile, err)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Problem, e.Remedy = "there is no configuration",
			"write one, or name another by --config FILE"
	case errors.Is(err, fs.ErrPermission):
		e.Problem, e.Remedy = "the configuration may not be read by this user",
			"run ztbridge as root"
	default:
		e.Problem = fmt.Sprintf("the configuration cannot be read: %v", plain(err))
	}
	return e
}

func newDecoder(file string) *decoder {
	return &decoder{
		file: file, base: filepath.Dir(file), cfg: &Config{File: file},
		sources: map[*yaml.Node]string{}, where: map[string]Position{},
	}
}

// parse does everything that needs no other file.
func (d *decoder) parse(data []byte, overrides Overrides) {
	root := d.tree(data)
	if root == nil {
		return
	}
	d.layer(root, overrides)
	d.decode(root)
}

func (d *decoder) result() (*Config, []Warning, error) {
	byLine := func(a, b Position) int { return a.Line - b.Line }
	slices.SortStableFunc(d.warnings,
		func(a, b Warning) int { return byLine(a.Position, b.Position) })
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs,
			func(a, b *Error) int { return byLine(a.Position, b.Position) })
		return nil, d.warnings, d.errs
	}
	return d.cfg, d.warnings, nil
}
