package kmod

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Tree is the module index of one kernel.
type Tree struct {
	path    map[string]string   // module name → file below the tree
	deps    map[string][]string // file → files it depends on
	soft    map[string][]string // module name → names to load before it
	builtin map[string]bool
	byTree  map[string][]string // a device tree's "compatible" → module names
}

// ErrNotFound reports a module that the kernel neither has as a file nor built in.
var ErrNotFound = errors.New("no such module")

// Open reads the modules.* files of lib/modules/VERSION that depmod and the kernel package write.
func Open(fsys fs.FS) (*Tree, error) {
	t := &Tree{path: map[string]string{}, deps: map[string][]string{},
		soft: map[string][]string{}, builtin: map[string]bool{}, byTree: map[string][]string{}}
	readers := []struct {
		file  string
		parse func(line string)
	}{
		{"modules.dep", t.parseDep},
		{"modules.softdep", t.parseSoftdep},
		{"modules.alias", t.parseAlias},
		{"modules.builtin", func(line string) { t.builtin[Name(line)] = true }},
	}
	for _, r := range readers {
		if err := eachLine(fsys, r.file, r.parse); err != nil {
			return nil, fmt.Errorf("reading %s: %w", r.file, err)
		}
	}
	return t, nil
}

func eachLine(fsys fs.FS, name string, parse func(string)) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20) // a dependency line can be long
	for scanner.Scan() {
		if line := strings.TrimSpace(scanner.Text()); line != "" && line[0] != '#' {
			parse(line)
		}
	}
	return scanner.Err()
}

func (t *Tree) parseDep(line string) {
	file, deps, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	t.path[Name(file)] = file
	t.deps[file] = strings.Fields(deps)
}

// parseSoftdep takes "softdep NAME pre: A B post: C". Only what comes before matters to a load
// order.
func (t *Tree) parseSoftdep(line string) {
	fields := strings.Fields(line)
	if len(fields) < 3 || fields[0] != "softdep" {
		return
	}
	pre := false
	for _, f := range fields[2:] {
		switch {
		case f == "pre:":
			pre = true
		case strings.HasSuffix(f, ":"):
			pre = false
		case pre:
			t.soft[normal(fields[1])] = append(t.soft[normal(fields[1])], f)
		}
	}
}

var treeAliasRE = regexp.MustCompile(`^alias of:N\*T[^C]*C([^*]+?)(?:C\*)? (\S+)$`)

// parseAlias takes "alias of:N*T*Cbrcm,bcm2835-sdhostC* bcm2835" and leaves out other buses.
func (t *Tree) parseAlias(line string) {
	m := treeAliasRE.FindStringSubmatch(line)
	if m != nil && !slices.Contains(t.byTree[m[1]], m[2]) {
		t.byTree[m[1]] = append(t.byTree[m[1]], m[2])
	}
}

// Compatible returns the modules that drive devices with a "compatible" string of a device tree.
// There are none for a built-in driver.
func (t *Tree) Compatible(with string) []string { return t.byTree[with] }

// File returns a module's file, relative to the tree. It is empty when the kernel has none.
func (t *Tree) File(module string) string { return t.path[normal(module)] }

// Name is the kernel's name of a module file: no folder, no suffixes, underscores.
func Name(file string) string {
	base, _, _ := strings.Cut(path.Base(file), ".ko")
	return normal(base)
}

func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Resolve returns the files to load for the named modules, each once and after its dependencies.
// Files are relative to the tree. Built-in modules need no file. Soft dependencies that the kernel
// lacks are skipped, as modprobe does: they may be aliases of built-in algorithms.
func (t *Tree) Resolve(names ...string) ([]string, error) {
	r := resolution{tree: t, seen: map[string]bool{}}
	for _, name := range names {
		if err := r.add(normal(name)); err != nil {
			return nil, err
		}
	}
	return r.files, nil
}

type resolution struct {
	tree  *Tree
	seen  map[string]bool
	files []string
}

func (r *resolution) add(name string) error {
	file, ok := r.tree.path[name]
	if !ok {
		if r.tree.builtin[name] {
			return nil
		}
		return fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if r.seen[file] {
		return nil
	}
	r.seen[file] = true
	for _, soft := range r.tree.soft[name] {
		if err := r.add(normal(soft)); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	deps := r.tree.deps[file] // listed from the nearest to the farthest
	for i := len(deps) - 1; i >= 0; i-- {
		if err := r.add(Name(deps[i])); err != nil {
			return fmt.Errorf("resolving dependencies of %s: %w", name, err)
		}
	}
	r.files = append(r.files, file)
	return nil
}
