package pkglock

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Request says what to resolve.
type Request struct {
	Suite      string
	Arch       string   // Debian's name
	Components []string // for example main, non-free-firmware
	Mirror     string   // base address above debian/ and debian-security/
	Keyring    string   // file that the archive's signatures are checked against
	Install    []string // names; their dependencies are added, recommendations are not
	Unpack     []string // names; a kernel meta package is replaced by the kernel that it depends on
	Backports  bool     // kernels are those of the suite's backports
}

// Resolve asks apt for the newest versions in a private root under dir. The host's own package
// state is neither used nor changed. The indexes' signatures are checked by apt; nothing is
// installed. It blocks for the download of the indexes.
func Resolve(ctx context.Context, req Request, dir string) (*Lock, error) {
	apt, err := newPrivateApt(req.Arch, req.sources(), dir)
	if err != nil {
		return nil, err
	}
	if req.Backports {
		if err := apt.preferKernelsOf(req.Suite + "-backports"); err != nil {
			return nil, err
		}
	}
	if _, err := apt.run(ctx, "apt-get", "update", "-qq"); err != nil {
		return nil, fmt.Errorf("fetching signed indexes: %w", err)
	}
	date, err := apt.newestRelease()
	if err != nil {
		return nil, err
	}
	lock := &Lock{Suite: req.Suite, Arch: req.Arch, Date: date}
	if err := apt.add(ctx, lock, Install,
		append([]string{"?essential"}, req.Install...)); err != nil {
		return nil, err
	}
	unpack, err := apt.concreteKernels(ctx, req.Unpack)
	if err != nil {
		return nil, err
	}
	if err := apt.add(ctx, lock, Unpack, unpack); err != nil {
		return nil, err
	}
	return lock, nil
}

type privateApt struct{ dir string }

// sources are Debian's repositories on the mirror, as lines of apt's list.
func (r Request) sources() string {
	repositories := []string{"debian " + r.Suite, "debian-security " + r.Suite + "-security"}
	if r.Backports {
		repositories = append(repositories, "debian "+r.Suite+"-backports")
	}
	var lines strings.Builder
	for _, repository := range repositories {
		fmt.Fprintf(&lines, "deb [signed-by=%s] %s/%s %s\n", r.Keyring, r.Mirror, repository,
			strings.Join(r.Components, " "))
	}
	return lines.String()
}

// preferKernelsOf makes apt take kernels from a suite that it otherwise takes nothing from.
func (a *privateApt) preferKernelsOf(suite string) error {
	text := "Package: linux-image-* linux-base-* linux-binary-* linux-modules-*\nPin: release n=" +
		suite + "\nPin-Priority: 990\n"
	err := os.WriteFile(filepath.Join(a.dir, "etc/preferences.d/kernel"), []byte(text), 0o644)
	if err != nil {
		return fmt.Errorf("preferring kernels of %s: %w", suite, err)
	}
	return nil
}

func newPrivateApt(arch, sources, dir string) (*privateApt, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding apt root: %w", err)
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "etc/apt.conf.d",
		"etc/preferences.d"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("making apt root: %w", err)
		}
	}
	files := map[string]string{
		// The error mode makes an unverified or missing index an error. Otherwise it is a warning,
		// and packages come from the other indexes: without the security archive, they lack a year
		// of fixes.
		"status":           "",
		"etc/sources.list": sources,
		"apt.conf": fmt.Sprintf(`APT::Architecture "%[1]s"; APT::Architectures { "%[1]s"; };
APT::Install-Recommends "false"; Acquire::Languages "none"; APT::Update::Error-Mode "any";
Dir "%[2]s"; Dir::State "%[2]s"; Dir::State::status "%[2]s/status";
Dir::State::lists "%[2]s/lists"; Dir::Cache "%[2]s/cache";
Dir::Etc "%[2]s/etc"; Dir::Etc::sourcelist "%[2]s/etc/sources.list";
Dir::Etc::sourceparts "/dev/null"; Dir::Etc::main "/dev/null";
`, arch, dir),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return nil, fmt.Errorf("making apt root: %w", err)
		}
	}
	return &privateApt{dir: dir}, nil
}

func (a *privateApt) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = a.dir // where apt-get download leaves its files
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// newestRelease is the date that the archive itself gives to the newest of the indexes in use.
func (a *privateApt) newestRelease() (time.Time, error) {
	files, err := filepath.Glob(filepath.Join(a.dir, "lists", "*Release"))
	if err != nil {
		return time.Time{}, fmt.Errorf("finding archive dates: %w", err)
	}
	var newest time.Time
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return time.Time{}, fmt.Errorf("reading archive date: %w", err)
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			value, ok := strings.CutPrefix(line, "Date: ")
			if !ok {
				continue
			}
			date, err := time.Parse(time.RFC1123, value)
			if err != nil {
				return time.Time{}, fmt.Errorf("reading archive date %q: %w", value, err)
			}
			if date.After(newest) {
				newest = date.UTC()
			}
		}
	}
	if newest.IsZero() {
		return time.Time{}, fmt.Errorf("finding archive dates: no index in %s says one", a.dir)
	}
	return newest, nil
}

// add locks the named packages. Those to install bring their dependencies, those to unpack do not.
func (a *privateApt) add(ctx context.Context, lock *Lock, role Role, names []string) error {
	if len(names) == 0 {
		return nil
	}
	args := append([]string{"install", "-y", "-qq", "--print-uris"}, names...)
	if role == Unpack {
		args = append([]string{"download", "-qq", "--print-uris"}, names...)
	}
	out, err := a.run(ctx, "apt-get", args...)
	if err != nil {
		return fmt.Errorf("resolving packages to %s: %w", role, err)
	}
	files, err := parseURIs(out)
	if err != nil {
		return err
	}
	specs := make([]string, 0, len(files))
	for _, f := range files {
		specs = append(specs, f.name+"="+f.version)
	}
	shown, err := a.run(ctx, "apt-cache", append([]string{"show"}, specs...)...)
	if err != nil {
		return fmt.Errorf("reading package records: %w", err)
	}
	stanzas := parseStanzas(shown)
	for _, f := range files {
		p, err := f.locked(role, stanzas)
		if err != nil {
			return err
		}
		lock.Packages = append(lock.Packages, p)
	}
	return nil
}

// uriFile is one line of apt-get --print-uris.
type uriFile struct{ path, name, version, arch string }

func parseURIs(out []byte) ([]uriFile, error) {
	var files []uriFile
	scanner := bufio.NewScanner(bytes.NewReader(out))
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 3 || !strings.HasPrefix(fields[0], "'") {
			continue
		}
		u, err := url.Parse(strings.Trim(fields[0], "'"))
		if err != nil {
			return nil, fmt.Errorf("parsing package address: %w", err)
		}
		parts := strings.Split(strings.TrimSuffix(fields[1], ".deb"), "_")
		if len(parts) != 3 {
			return nil, fmt.Errorf("parsing package file name %q: want name_version_arch.deb",
				fields[1])
		}
		version, err := url.PathUnescape(parts[1])
		if err != nil {
			return nil, fmt.Errorf("parsing version of %s: %w", parts[0], err)
		}
		files = append(files, uriFile{path: strings.TrimPrefix(u.Path, "/"), name: parts[0],
			version: version, arch: parts[2]})
	}
	return files, nil
}

// locked completes the file with size and sum out of the signed index. The archive's own file name
// must agree.
func (f uriFile) locked(role Role, stanzas []map[string]string) (Package, error) {
	for _, s := range stanzas {
		if s["Package"] != f.name || s["Version"] != f.version ||
			!strings.HasSuffix(f.path, s["Filename"]) {
			continue
		}
		size, err := strconv.ParseInt(s["Size"], 10, 64)
		if err != nil {
			return Package{}, fmt.Errorf("reading size of %s: %w", f.name, err)
		}
		p := Package{Role: role, Name: f.name, Version: f.version, Arch: f.arch, Size: size,
			SHA256: s["SHA256"], Path: f.path}
		return p, p.check()
	}
	return Package{}, fmt.Errorf("finding the index record of %s %s: none", f.name, f.version)
}

func parseStanzas(text []byte) []map[string]string {
	var all []map[string]string
	for block := range strings.SplitSeq(string(text), "\n\n") {
		stanza := map[string]string{}
		for line := range strings.SplitSeq(block, "\n") {
			if key, value, ok := strings.Cut(line, ": "); ok && !strings.HasPrefix(line, " ") {
				stanza[key] = value
			}
		}
		if len(stanza) > 0 {
			all = append(all, stanza)
		}
	}
	return all
}

var kernelMetaRE = regexp.MustCompile(`^linux-image-[a-z]`)
var kernelDependsRE = regexp.MustCompile(`linux-image-([0-9][^ ,]*)`)

// concreteKernels replaces linux-image-FLAVOUR, an empty package, by the versioned packages that it
// leads to. Since Linux 6.19 Debian has kernels in linux-base-VERSION, linux-binary-VERSION and
// linux-modules-VERSION.
func (a *privateApt) concreteKernels(ctx context.Context, names []string) ([]string, error) {
	out := make([]string, 0, len(names))
	for _, name := range names {
		if !kernelMetaRE.MatchString(name) {
			out = append(out, name)
			continue
		}
		depends, err := a.depends(ctx, name)
		if err != nil {
			return nil, err
		}
		kernel := kernelDependsRE.FindStringSubmatch(depends)
		if kernel == nil {
			return nil, fmt.Errorf("finding the kernel of %s: its dependencies name none", name)
		}
		if depends, err = a.depends(ctx, kernel[0]); err != nil {
			return nil, err
		}
		parts := regexp.MustCompile(`linux-[a-z]+-`+regexp.QuoteMeta(kernel[1])+`\b`).FindAllString(
			depends, -1)
		out = append(append(out, kernel[0]), parts...)
	}
	return out, nil
}

// depends returns the dependencies of the version of a package that apt would install.
func (a *privateApt) depends(ctx context.Context, name string) (string, error) {
	shown, err := a.run(ctx, "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return "", fmt.Errorf("finding the kernel of %s: %w", name, err)
	}
	return parseStanzas(shown)[0]["Depends"], nil
}
