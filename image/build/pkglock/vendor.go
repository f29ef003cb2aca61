package pkglock

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Vendor is an apt repository that is not Debian's.
type Vendor struct {
	URL   string
	Suite string
	Key   []byte // the one key, ASCII-armoured, that its index must be signed with
	Arch  string // Debian's name
}

// Download fetches the newest version of one package into dir, which must be empty, and returns the
// file. apt checks the index's signature and the package's sum; whatever does not match is an error
// and leaves no file. It blocks for the download.
func (v Vendor) Download(ctx context.Context, name, dir string) (string, error) {
	if err := checkWords(v.URL, v.Suite); err != nil {
		return "", err
	}
	keyring := filepath.Join(dir, "vendor.asc") // apt tells the format by the name
	if err := os.WriteFile(keyring, v.Key, 0o644); err != nil {
		return "", fmt.Errorf("writing the vendor's key: %w", err)
	}
	apt, err := newPrivateApt(v.Arch, fmt.Sprintf("deb [signed-by=%s] %s %s main\n", keyring, v.URL,
		v.Suite), dir)
	if err != nil {
		return "", err
	}
	if _, err := apt.run(ctx, "apt-get", "update", "-qq"); err != nil {
		return "", fmt.Errorf("fetching the vendor's signed index: %w", err)
	}
	if _, err := apt.run(ctx, "apt-get", "download", "-qq", name); err != nil {
		return "", fmt.Errorf("downloading %s: %w", name, err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, name+"_*.deb")) // the pattern is well-formed
	if len(files) != 1 {
		return "", fmt.Errorf("downloading %s: %d files", name, len(files))
	}
	return files[0], nil
}

// checkWords keeps what becomes a line of a sources list to its own field.
func checkWords(words ...string) error {
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n[]#") {
			return fmt.Errorf("naming the vendor's repository: bad word %q", w)
		}
	}
	return nil
}
