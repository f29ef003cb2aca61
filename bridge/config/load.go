package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"go.yaml.in/yaml/v3"
)

// DefaultPath is where the configuration is looked for.
const DefaultPath = "/etc/ztbridge/ztbridge.yaml"

// Load reads the configuration and every file that it names. On a mistake the error is of type
// Errors and holds all that were found; the Config is nil then, and nothing of it should be used.
func Load(path string, overrides Overrides) (*Config, []Warning, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("finding the configuration %s: %w", path, err)
	}
	data, err := readConfig(abs)
	if err != nil {
		return nil, nil, Errors{configFileError(abs, err)}
	}
	return LoadText(abs, data, overrides)
}

// LoadText is Load of a configuration that has this text and is, or shall be, at the absolute path.
func LoadText(path string, text []byte, overrides Overrides) (*Config, []Warning, error) {
	d := newDecoder(path)
	d.parse(text, overrides)
	if len(d.errs) == 0 {
		d.readFiles()
	}
	return d.result()
}

func readConfig(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	return readAll(f)
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
