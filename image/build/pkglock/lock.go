package pkglock

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Role says what is done with a package.
type Role string

const (
	// Install packages are configured in the root file system by mmdebstrap.
	Install Role = "install"
	// Unpack packages are only unpacked on the build host: kernels, firmware, boot loaders.
	// Configuring a kernel package in an emulated chroot takes longer than the whole rest of a
	// build.
	Unpack Role = "unpack"
)

// Package is one pinned .deb.
type Package struct {
	Role    Role
	Name    string
	Version string
	Arch    string
	Size    int64
	SHA256  string // lower-case hex of the .deb
	// below the mirror's base address, for example debian/pool/main/z/zlib/zlib1g_1.deb
	Path string
}

// Lock is the complete, ordered list of packages of one suite and architecture.
type Lock struct {
	Suite string
	Arch  string
	// of the newest index resolved from; every time stamp in an image is this one
	Date     time.Time
	Packages []Package
}

// ErrSyntax wraps every error about the text of a lock file.
var ErrSyntax = errors.New("bad lock file")

var (
	nameRE    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionRE = regexp.MustCompile(`^[A-Za-z0-9.+:~-]+$`)
	sumRE     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	pathRE    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+:~%/-]*\.deb$`)
)

// Parse reads a lock file. Every field is checked, since names become arguments and paths become
// file names.
func Parse(r io.Reader) (*Lock, error) {
	lock := &Lock{}
	scanner := bufio.NewScanner(r)
	for line := 1; scanner.Scan(); line++ {
		fields := strings.Fields(scanner.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := lock.parseLine(fields); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrSyntax, line, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("reading lock file: %w", err)
	}
	if lock.Suite == "" || lock.Arch == "" {
		return nil, fmt.Errorf("%w: no suite line", ErrSyntax)
	}
	return lock, nil
}

func (l *Lock) parseLine(fields []string) error {
	switch role := Role(fields[0]); role {
	case "suite":
		if len(fields) != 4 || !nameRE.MatchString(fields[1]) || !nameRE.MatchString(fields[2]) {
			return errors.New("want: suite NAME ARCHITECTURE TIME")
		}
		date, err := time.Parse(time.RFC3339, fields[3])
		if err != nil {
			return fmt.Errorf("bad time %q", fields[3])
		}
		l.Suite, l.Arch, l.Date = fields[1], fields[2], date.UTC()
		return nil
	case Install, Unpack:
		if len(fields) != 7 {
			return fmt.Errorf("%d fields, want: role name version architecture size sha256 path",
				len(fields))
		}
		size, err := strconv.ParseInt(fields[4], 10, 64)
		if err != nil || size <= 0 {
			return fmt.Errorf("bad size %q", fields[4])
		}
		p := Package{Role: role, Name: fields[1], Version: fields[2], Arch: fields[3], Size: size,
			SHA256: fields[5], Path: fields[6]}
		if err := p.check(); err != nil {
			return err
		}
		l.Packages = append(l.Packages, p)
		return nil
	default:
		return fmt.Errorf("unknown word %q", fields[0])
	}
}

func (p Package) check() error {
	switch {
	case !nameRE.MatchString(p.Name):
		return fmt.Errorf("bad package name %q", p.Name)
	case !versionRE.MatchString(p.Version):
		return fmt.Errorf("bad version %q of %s", p.Version, p.Name)
	case !nameRE.MatchString(p.Arch):
		return fmt.Errorf("bad architecture %q of %s", p.Arch, p.Name)
	case !sumRE.MatchString(p.SHA256):
		return fmt.Errorf("bad sha256 %q of %s", p.SHA256, p.Name)
	case !pathRE.MatchString(p.Path) || strings.Contains(p.Path, ".."):
		return fmt.Errorf("bad path %q of %s", p.Path, p.Name)
	}
	return nil
}

// String returns the lock file in canonical order, so that two of them differ only in packages.
func (l *Lock) String() string {
	sorted := slices.SortedFunc(slices.Values(l.Packages), func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name))
	})
	var b strings.Builder
	b.WriteString("# Packages of the image. Written by `ztbridge-image lock`; do not edit.\n")
	fmt.Fprintf(&b, "suite %s %s %s\n", l.Suite, l.Arch, l.Date.UTC().Format(time.RFC3339))
	for _, p := range sorted {
		fmt.Fprintf(&b, "%s %s %s %s %d %s %s\n", p.Role, p.Name, p.Version, p.Arch, p.Size,
			p.SHA256, p.Path)
	}
	return b.String()
}

// Hash returns a hash of the packages of one role, in hex. Equal hashes mean equal packages.
func (l *Lock) Hash(role Role) string {
	h := sha256.New()
	fmt.Fprintln(h, l.Suite, l.Arch, role)
	for _, p := range l.byRole(role) {
		fmt.Fprintln(h, p.Name, p.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (l *Lock) byRole(role Role) []Package {
	out := slices.DeleteFunc(slices.Clone(l.Packages),
		func(p Package) bool { return p.Role != role })
	slices.SortFunc(out, func(a, b Package) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
