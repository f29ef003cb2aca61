package pkglock

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// WriteRepo writes a flat apt repository of the packages to install into dir. mmdebstrap can take
// nothing from it that the lock does not name. The index comes from the packages themselves, whose
// sums the store has verified, so the repository needs no signature of its own. All packages must
// have been fetched.
func (s *Store) WriteRepo(ctx context.Context, lock *Lock, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making local repository: %w", err)
	}
	var index strings.Builder
	for _, p := range lock.byRole(Install) {
		control, err := exec.CommandContext(ctx, "dpkg-deb", "-f", s.File(p)).Output()
		if err != nil {
			return fmt.Errorf("reading control fields of %s: %w", p.Name, err)
		}
		name := filepath.Base(p.Path)
		if err := os.Symlink(s.File(p), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("linking %s into the local repository: %w", p.Name, err)
		}
		fmt.Fprintf(&index, "%s\nFilename: ./%s\nSize: %d\nSHA256: %s\n\n",
			bytes.TrimSpace(control), name, p.Size, p.SHA256)
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages"), []byte(index.String()),
		0o644); err != nil {
		return fmt.Errorf("writing index of the local repository: %w", err)
	}
	return nil
}
