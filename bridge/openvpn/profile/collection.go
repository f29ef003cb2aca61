package profile

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a collection. The largest that a provider is known to hand out has about 6,000 files.
const (
	maxFiles      = 20000
	maxCollection = 256 << 20 // bytes, unpacked
	maxPicked     = maxRemotes
)

// collection is the files of a folder or a ZIP archive.
type collection struct {
	name  string   // without its directory
	names []string // of regular files, slash-separated
	read  func(name string) ([]byte, error)
	close func() error
	used  map[string]bool // files that profiles refer to
}

// LoadAll reads the profiles of a folder or a ZIP archive that match one of the patterns in pick,
// or all where it is empty, and returns them as one profile whose servers are those of all. A
// pattern is compared with a profile's path and with its name, both without ".ovpn" (path.Match).
// Each file passes the same checks as a single profile; the report sums up those of all. A profile
// that cannot be used is left out with a remark, unless pick names it or no other is left.
func LoadAll(from string, pick []string, options Options) (*Profile, Report, error) {
	c, err := openCollection(from)
	if err != nil {
		return nil, Report{}, fmt.Errorf("reading profiles: %w", err)
	}
	defer func() { _ = c.close() }()
	names, err := c.pick(pick)
	if err != nil {
		return nil, Report{}, &Error{Name: c.name, Reason: err.Error()}
	}
	var members []*Profile
	var used []string
	var report Report
	var leftOut []error
	for _, name := range names {
		p, r, err := c.parse(name, options)
		if err != nil && !isNamed(name, pick) {
			leftOut = append(leftOut, err)
			continue
		}
		if err != nil {
			return nil, Report{}, fmt.Errorf("%s: %w", c.name, err)
		}
		members, used = append(members, p), append(used, name)
		report.add(r)
	}
	if len(members) == 0 {
		return nil, Report{}, fmt.Errorf("%s: %w", c.name, leftOut[0])
	}
	leftOut = slices.DeleteFunc(leftOut, func(err error) bool {
		of, ok := errors.AsType[*Error](err)
		return ok && c.used[of.Name] // a part of others (config), not a profile
	})
	report.leaveOut(leftOut, c.names)
	union, err := newUnion(c.name, used, members)
	return union, report, err
}

// parse reads one profile of the collection.
func (c *collection) parse(name string, options Options) (*Profile, Report, error) {
	data, err := c.read(name)
	if errors.Is(err, zip.ErrAlgorithm) {
		err = errors.New("it is packed by a method that is not read here; unpack the archive, " +
			"and use its folder or single profiles")
	}
	if err != nil {
		return nil, Report{}, &Error{Name: name, Reason: err.Error()}
	}
	options.Files, options.bundled = c.beside(name, options.Withheld), true
	return Parse(data, name, options)
}

// isNamed reports whether one of the patterns names a profile alone.
func isNamed(profile string, patterns []string) bool {
	short := strings.TrimSuffix(profile, path.Ext(profile))
	return slices.Contains(patterns, short) || slices.Contains(patterns, path.Base(short))
}

// IsCollection reports whether a path is a folder or a ZIP archive rather than one profile. What is
// in a file decides, not its name: phones keep downloads under names of their own.
func IsCollection(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() || !info.Mode().IsRegular() {
		return err == nil && info.IsDir()
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4)
	_, err = io.ReadFull(f, head)
	return err == nil && slices.Contains([]string{"PK\x03\x04", "PK\x05\x06"}, string(head))
}

// pick returns the paths of the profiles that match, in the order of the patterns.
func (c *collection) pick(patterns []string) ([]string, error) {
	var profiles []string
	for _, name := range c.names {
		if isProfile(name) {
			profiles = append(profiles, name)
		}
	}
	slices.Sort(profiles)
	if len(profiles) == 0 {
		if at := slices.IndexFunc(c.names, isArchive); at >= 0 {
			return nil, fmt.Errorf("it holds no OpenVPN profile (.ovpn), but another archive, %s: "+
				"unpack that and name its folder, or name it if it is a ZIP archive", c.names[at])
		}
		if len(c.names) > 0 {
			return nil, fmt.Errorf("it holds no OpenVPN profile (.ovpn or .conf), only %s",
				sample(slices.Sorted(slices.Values(c.names))))
		}
		return nil, errors.New("it holds no OpenVPN profile (.ovpn)")
	}
	picked, seen := profiles, map[string]bool{}
	if len(patterns) > 0 {
		picked = nil
	}
	for _, pattern := range patterns {
		before := len(picked)
		for _, name := range profiles {
			short := strings.TrimSuffix(name, path.Ext(name))
			full, err := path.Match(pattern, short)
			base, _ := path.Match(pattern, path.Base(short))
			if err != nil {
				return nil, fmt.Errorf("pick: %q is not a pattern", pattern)
			}
			if (full || base) && !seen[name] {
				picked, seen[name] = append(picked, name), true
			}
		}
		if len(picked) == before {
			return nil, fmt.Errorf("pick: no profile matches %q; there are %s", pattern,
				sample(profiles))
		}
	}
	if len(picked) > maxPicked {
		return nil, fmt.Errorf("%d profiles are more than the %d that one egress may have; choose "+
			"some by pick: [%s*]", len(picked), maxPicked, strings.TrimSuffix(path.Base(picked[0]),
			path.Ext(picked[0]))[:1])
	}
	return picked, nil
}

// sample names some of the profiles.
func sample(names []string) string {
	const some = 5
	text := strings.Join(names[:min(len(names), some)], ", ")
	if len(names) > some {
		text += fmt.Sprintf(" and %d more", len(names)-some)
	}
	return text
}

// elsewhere is a path from the top, also of Windows.
var elsewhere = regexp.MustCompile(`^([A-Za-z]:)?/`)

// beside returns a reader of the collection's files by their place relative to a profile.
func (c *collection) beside(profile string, withheld []string) FileReader {
	return func(name string) ([]byte, error) {
		name = strings.ReplaceAll(name, `\`, "/")
		full := path.Join(path.Dir(profile), name)
		if at := path.Join(path.Dir(profile), path.Base(name)); elsewhere.MatchString(name) &&
			slices.Contains(c.names, at) {
			full = at // of the machine that the profile was made for
		}
		if slices.Contains(withheld, full) {
			return nil, errWithheld
		}
		if !slices.Contains(c.names, full) {
			return nil, fmt.Errorf("%w in %s", fs.ErrNotExist, c.name)
		}
		c.used[full] = true
		return c.read(full)
	}
}

func openCollection(from string) (*collection, error) {
	info, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	open := openArchive
	if info.IsDir() {
		open = openFolder
	}
	c, err := open(from)
	if err == nil {
		c.used = map[string]bool{}
	}
	return c, err
}

// openFolder lists a folder and those in it. Symbolic links are refused: they lead elsewhere.
func openFolder(dir string) (*collection, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	c := &collection{name: filepath.Base(dir), close: root.Close}
	c.read = func(name string) ([]byte, error) {
		f, err := root.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readLimited(f, maxProfile)
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Type()&fs.ModeSymlink != 0 && isProfile(name):
			return fmt.Errorf("%s is a symbolic link; copy the file in its place", name)
		case isProfile(name) && strings.ContainsFunc(name, unprintableRune):
			return fmt.Errorf("the name %q holds a control character or is not UTF-8", name)
		case d.Type().IsRegular() && !isHidden(name):
			c.names = append(c.names, name)
		}
		if len(c.names) > maxFiles {
			return fmt.Errorf("it holds more than %d files", maxFiles)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return c, nil
}

func unprintableRune(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

func isProfile(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".ovpn" || ext == ".conf"
}

func isArchive(name string) bool {
	return slices.Contains([]string{".zip", ".rar", ".7z", ".gz", ".tgz", ".tar", ".xz"},
		strings.ToLower(path.Ext(name)))
}

// isHidden recognises what archives of macOS hold beside each file, and hidden files.
func isHidden(name string) bool {
	return strings.HasPrefix(path.Base(name), ".") || strings.HasPrefix(name, "__MACOSX/") ||
		strings.Contains(name, "/__MACOSX/")
}

// openArchive lists a ZIP archive. Nothing of it is ever written to a disk.
func openArchive(file string) (*collection, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	archive, err := zip.NewReader(f, info.Size())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is no ZIP archive that can be read: %w%s",
			filepath.Base(file), err, looksLike(f)), f.Close())
	}
	entries, err := checkEntries(archive.File)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Base(file), err), f.Close())
	}
	c := &collection{name: filepath.Base(file), close: f.Close}
	c.read = func(name string) ([]byte, error) {
		r, err := entries[name].Open()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readLimited(r, maxProfile)
	}
	c.names = slices.Collect(maps.Keys(entries))
	return c, nil
}

// looksLike says what a file is that is no archive, as the end of a sentence.
func looksLike(f io.ReaderAt) string {
	head := make([]byte, 512)
	n, _ := f.ReadAt(head, 0) // a short file is an end of the file
	switch kind := fileKind(head[:n]); kind {
	case zipKind:
		return "; it is damaged, or its download was broken off"
	case "":
		return `; for a single profile write "profile:" in the place of "profiles:"`
	default:
		return "; it is " + kind
	}
}

// checkEntries refuses what an archive of profiles has no use for: names that lead out of it,
// links, the same name twice, and more bytes than any provider needs.
func checkEntries(files []*zip.File) (map[string]*zip.File, error) {
	if len(files) > maxFiles {
		return nil, fmt.Errorf("it holds more than %d files", maxFiles)
	}
	entries := map[string]*zip.File{}
	total := uint64(0)
	for _, f := range files {
		// Old programs write names in their machine's code page; only the letters suffer.
		name := strings.ToValidUTF8(f.Name, "_")
		// Some programs for Windows separate folders as that does.
		name = strings.TrimPrefix(strings.ReplaceAll(name, `\`, "/"), "./")
		switch {
		case strings.ContainsFunc(name, unprintableRune):
			return nil, fmt.Errorf("the name %q holds a control character", f.Name)
		case strings.HasSuffix(name, "/") && fs.ValidPath(strings.TrimSuffix(name, "/")):
			continue
		case !fs.ValidPath(name):
			return nil, fmt.Errorf("the name %q leads out of the archive", f.Name)
		case isHidden(name):
			continue
		case !f.Mode().IsRegular():
			return nil, fmt.Errorf("%s is a link or a device, not a file", name)
		case entries[name] != nil:
			return nil, fmt.Errorf("%s is in it twice", name)
		case f.Flags&1 != 0:
			return nil, fmt.Errorf("%s is encrypted; unpack the archive, and use its "+
				"folder or single profiles", name)
		}
		if total += f.UncompressedSize64; total > maxCollection {
			return nil, fmt.Errorf("unpacked it would be larger than %d MiB", maxCollection>>20)
		}
		entries[name] = f
	}
	return entries, nil
}

// readLimited reads a file of unknown size, up to a limit in bytes.
func readLimited(r io.Reader, limit int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > limit {
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	}
	return data, nil
}
