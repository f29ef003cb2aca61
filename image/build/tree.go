package build

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tree is a root file system in memory, so that it can be built without root's rights or a disk.
type tree struct{ nodes map[string]*node }

type node struct {
	header tar.Header
	data   []byte
}

func (n *node) isDir() bool { return n.header.Typeflag == tar.TypeDir }

func newTree() *tree { return &tree{nodes: map[string]*node{}} }

// cleanPath makes "./usr//lib/" into "usr/lib". No result leads out of the tree.
func cleanPath(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// mergedUsr moves a path below /usr where Debian's root has a link to it. Packages may still ship
// files under the old name.
func mergedUsr(name string) string {
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return "usr/" + name
		}
	}
	return name
}

// addTar adds every entry; later ones win. rename maps names, nil keeps them.
func (t *tree) addTar(r io.Reader, rename func(string) string) error {
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading archive: %w", err)
		}
		name := cleanPath(header.Name)
		if rename != nil {
			name = rename(name)
			if header.Typeflag == tar.TypeLink {
				header.Linkname = rename(cleanPath(header.Linkname))
			}
		}
		if name == "" {
			continue
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return fmt.Errorf("reading %s of archive: %w", name, err)
		}
		t.nodes[name] = &node{header: *header, data: data}
	}
}

// addDir adds a folder of the host below prefix, owned by root.
func (t *tree) addDir(dir, prefix string) error {
	return t.addFS(os.DirFS(dir), prefix,
		func(name string) (string, error) { return os.Readlink(filepath.Join(dir, name)) })
}

// addFS adds a file system's files below prefix, owned by root, with modes 0755 and 0644 by their
// executable bit.
func (t *tree) addFS(fsys fs.FS, prefix string, readlink func(string) (string, error)) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		target := cleanPath(path.Join(prefix, name))
		switch {
		case d.IsDir():
			t.mkdir(target, 0o755)
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			link, err := readlink(name)
			if err != nil {
				return fmt.Errorf("reading link %s: %w", name, err)
			}
			t.symlink(target, link)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		mode := int64(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		t.file(target, mode, data)
		return nil
	})
}

func (t *tree) file(name string, mode int64, data []byte) {
	t.nodes[cleanPath(name)] = &node{header: tar.Header{Typeflag: tar.TypeReg, Mode: mode},
		data: data}
}

func (t *tree) symlink(name, target string) {
	t.nodes[cleanPath(name)] = &node{header: tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777,
		Linkname: target}}
}

func (t *tree) mkdir(name string, mode int64) {
	name = cleanPath(name)
	if n := t.nodes[name]; n != nil && n.isDir() {
		return // an existing folder keeps its owner and mode
	}
	t.nodes[name] = &node{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode}}
}

// drop removes every path that begins with one of the prefixes, "usr/share/doc" and everything
// below it.
func (t *tree) drop(prefixes []string) {
	for name := range t.nodes {
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) &&
				(strings.HasSuffix(prefix, "_") || len(name) == len(prefix) ||
					name[len(prefix)] == '/') {
				delete(t.nodes, name)
				break
			}
		}
	}
}

// keepOnly removes files below a folder unless their names there begin with one of the prefixes.
// The folder's name ends in a slash.
func (t *tree) keepOnly(folder string, prefixes []string) {
	for name, n := range t.nodes {
		rest, inside := strings.CutPrefix(name, folder)
		if inside && !n.isDir() && !slices.ContainsFunc(prefixes,
			func(p string) bool { return strings.HasPrefix(rest, p) }) {
			delete(t.nodes, name)
		}
	}
}

// has reports whether a path exists.
func (t *tree) has(name string) bool { return t.nodes[cleanPath(name)] != nil }

// writeTar writes the tree in an order and with times that depend on its content alone. Hard links
// come last, after the files that they point to.
func (t *tree) writeTar(w io.Writer, when time.Time) error {
	t.addParents()
	isLink := func(name string) bool { return t.nodes[name].header.Typeflag == tar.TypeLink }
	names := slices.Sorted(maps.Keys(t.nodes))
	files := slices.DeleteFunc(slices.Clone(names), isLink)
	links := slices.DeleteFunc(names, func(name string) bool { return !isLink(name) })
	archive := tar.NewWriter(w)
	for _, name := range slices.Concat(files, links) {
		n := t.nodes[name]
		header := n.header
		header.Name, header.Size, header.ModTime = "./"+name, int64(len(n.data)), when
		header.AccessTime, header.ChangeTime, header.Format = time.Time{}, time.Time{},
			tar.FormatPAX
		header.Uname, header.Gname = "", ""
		if n.isDir() {
			header.Name += "/"
		}
		if header.Typeflag == tar.TypeLink {
			header.Linkname = "./" + cleanPath(header.Linkname)
		}
		for key := range header.PAXRecords {
			if !strings.HasPrefix(key, "SCHILY.xattr.") {
				delete(header.PAXRecords, key)
			}
		}
		if err := archive.WriteHeader(&header); err != nil {
			return fmt.Errorf("writing %s to archive: %w", name, err)
		}
		if _, err := archive.Write(n.data); err != nil {
			return fmt.Errorf("writing %s to archive: %w", name, err)
		}
	}
	return archive.Close()
}

func (t *tree) addParents() {
	for name := range t.nodes {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if t.nodes[dir] == nil {
				t.nodes[dir] = &node{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
			}
		}
	}
}
