package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Places say where the parts of a box are.
type Places struct {
	Config string // path of the configuration file
	State  string // ztbridge's state directory
	// System holds the files of an image that are for the box itself: who may log in, Wi-Fi, a
	// fixed address. Empty where there are none.
	System string
}

// part is the first element of a name in the archive: a directory of the box.
type part string

const (
	configPart   part = "config"
	statePart    part = "state"
	zerotierPart part = "zerotier"
	systemPart   part = "system"
)

// configName is the configuration's name in an archive, whatever it is called on the box.
const configName = "ztbridge.yaml"

const (
	// maxBackup bounds the content of a backup, in bytes: it is held in memory.
	maxBackup = 64 << 20
	maxFiles  = 100_000
	// stagingDir holds, in each directory, what a restore is about to put there.
	stagingDir = ".restore"
	// asidePrefix begins the name of the directory for what a restore has replaced.
	asidePrefix = "replaced-"
)

// zerotierEntries are what of zerotier-one's home makes it the same node in the same networks. The
// rest it makes again: its API token, its list of peers.
var zerotierEntries = []string{"identity.public", "identity.secret", "local.conf", "planet",
	"networks.d", "moons.d", "controller.d", "ztbridge-moon.json"}

// learned are the files and directories in the state directory that a box writes while it works,
// and that are no reason to refuse a restore; also what strangers try on a page without an owner.
var learned = []string{"behind.json", "ingresses.json", "openvpn", "page/audit.log"}

// kept reports whether a file of the state directory goes into a backup, by its name relative to
// it. All does but what is being written, what was replaced, locks, the history, which is large and
// of the old machine, and the claim of a page that has no owner: it is of that machine's starts.
func kept(name string) bool {
	if name == "page/claim.json" {
		return false
	}
	for element := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(element, ".") || strings.HasPrefix(element, asidePrefix) ||
			strings.HasPrefix(element, "history.") || strings.Contains(element, ".replaced-") {
			return false
		}
		switch path.Ext(element) {
		case ".lock", ".building", ".restoring", ".tmp":
			return false
		}
	}
	return true
}

// allowed reports whether a backup may hold a file of that part and name.
func allowed(p part, name string) bool {
	if name == "" || !fs.ValidPath(name) || strings.ContainsFunc(name, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '\\'
	}) {
		return false
	}
	first, _, _ := strings.Cut(name, "/")
	switch p {
	case configPart:
		return first != stagingDir && !strings.HasPrefix(first, asidePrefix)
	case statePart:
		return kept(name)
	case zerotierPart:
		return slices.Contains(zerotierEntries, first)
	case systemPart:
		return first == name && !strings.HasPrefix(name, ".")
	default:
		return false
	}
}

// filesIn returns the regular files of a directory and below, by their names relative to it. One
// that does not exist has none.
func filesIn(dir string, want func(name string) bool) (map[string]string, error) {
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it has just been removed, or there is none
			}
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil || name == "." {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case !want(name) && d.IsDir():
			return fs.SkipDir
		case want(name) && d.Type().IsRegular():
			out[name] = file
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}
	return out, nil
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
