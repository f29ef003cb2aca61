package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Portable is a configuration in one directory with all files that it names, so that it can go to
// another machine.
type Portable struct {
	Text []byte // of the configuration, comments included
	// Files are where the named files lie now, by their names relative to the configuration's
	// directory, with slashes.
	Files map[string]string
	// ZeroTierHome is the home directory of zerotier-one that it names.
	ZeroTierHome string
}

// outsideDir is the directory, beside the configuration, of files that lay elsewhere.
const outsideDir = "files"

// LoadPortable reads the configuration at path. Files that lie outside its directory get names
// beside it, and the text names them so. It is an error if the configuration has mistakes.
func LoadPortable(path string) (Portable, error) {
	abs, text, err := readConfig(path)
	if err != nil {
		return Portable{}, err
	}
	d := decodeText(abs, text, nil)
	if _, _, err := d.result(); err != nil {
		return Portable{}, err
	}
	p := Portable{Text: text, Files: map[string]string{}, ZeroTierHome: d.cfg.ZeroTier.Home}
	var outside []namedPath
	for _, n := range d.paths {
		name, inside := nameInside(d.base, n.path)
		switch {
		case n.path == p.ZeroTierHome: // not a file of the configuration
		case inside:
			p.add(name, n.path)
		default:
			outside = append(outside, n)
		}
	}
	// The end comes first: what is before it stays in place.
	slices.SortFunc(outside, func(a, b namedPath) int {
		return cmp.Or(b.node.Line-a.node.Line, b.node.Column-a.node.Column)
	})
	var errs Errors
	for _, n := range outside {
		name := p.nameOutside(n.path)
		p.add(name, n.path)
		if p.Text, err = replaceScalar(p.Text, n.node, name); err != nil {
			errs = append(errs, &Error{Position: value{d: d, node: n.node}.pos(), Err: ErrSyntax,
				Problem: err.Error(), Remedy: "write the file's name on one line, plainly"})
		}
	}
	if len(errs) > 0 {
		return Portable{}, errs
	}
	return p, nil
}

// nameInside returns the name of a file relative to a directory, and reports whether it is below
// it.
func nameInside(dir, file string) (string, bool) {
	name, err := filepath.Rel(dir, file)
	return name, err == nil && filepath.IsLocal(name)
}

// add enters a file, or all files of a folder, under a name.
func (p Portable) add(name, file string) {
	for _, below := range filesBelow(file) {
		p.Files[filepath.ToSlash(name+strings.TrimPrefix(below, file))] = below
	}
}

// nameOutside returns a name below outsideDir for a file or folder that lies elsewhere, which no
// other one has.
func (p Portable) nameOutside(file string) string {
	base := filepath.Base(file)
	for n := 1; ; n++ {
		name := filepath.Join(outsideDir, base)
		if n > 1 {
			name = filepath.Join(outsideDir, fmt.Sprintf("%d-%s", n, base))
		}
		if !p.has(name, file) {
			return name
		}
	}
}

// has reports whether a name is that of something else than file.
func (p Portable) has(name, file string) bool {
	for other, at := range p.Files {
		if (other == name || strings.HasPrefix(other, name+"/")) && at != file &&
			!strings.HasPrefix(at, file+"/") {
			return true
		}
	}
	return false
}

var errScalar = errors.New("the name is written in a way that cannot be replaced")

// replaceScalar puts another text in the place of a scalar of one line, and leaves all else as it
// is.
func replaceScalar(text []byte, node *yaml.Node, to string) ([]byte, error) {
	start, end, err := scalarSpan(text, node)
	if err != nil {
		return nil, err
	}
	quoted := "'" + strings.ReplaceAll(to, "'", "''") + "'"
	return slices.Concat(text[:start], []byte(quoted), text[end:]), nil
}
