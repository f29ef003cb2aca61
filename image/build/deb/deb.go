package deb

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	nfpmdeb "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"

	"ztbridge/image/build/gobuild"
)

//go:embed files
var embedded embed.FS

// Architectures are those that packages are made for, in Debian's names.
var Architectures = []string{"amd64", "arm64", "armhf"}

// Options says what to pack.
type Options struct {
	Source  string // the checkout
	Arch    string
	Version string
	Commit  string    // told by `ztbridge version`
	Date    time.Time // every time stamp in the package
	Out     string    // folder
}

// Build compiles and packs, and returns the package's file name. The same options make the same
// bytes.
func Build(ctx context.Context, o Options) (string, error) {
	work, err := os.MkdirTemp("", "ztbridge-deb-*")
	if err != nil {
		return "", fmt.Errorf("packing: %w", err)
	}
	defer os.RemoveAll(work)
	s := stage{dir: work, when: o.Date}
	if err := s.compile(ctx, o); err != nil {
		return "", err
	}
	if err := s.sources(o); err != nil {
		return "", err
	}
	return write(s, o)
}

// stage collects the package's files.
type stage struct {
	dir      string
	when     time.Time
	contents files.Contents
}

// add puts data at a place in the package.
func (s *stage) add(destination string, mode os.FileMode, kind string, data []byte) error {
	source := filepath.Join(s.dir, strings.ReplaceAll(strings.Trim(destination, "/"), "/", "_"))
	if err := os.WriteFile(source, data, 0o644); err != nil {
		return fmt.Errorf("staging %s: %w", destination, err)
	}
	s.contents = append(s.contents,
		&files.Content{Source: source, Destination: destination, Type: kind,
			FileInfo: &files.ContentFileInfo{Mode: mode, Owner: "root", Group: "root",
				MTime: s.when}})
	return nil
}

// compile adds the program, and what it says about itself: manual and completions.
func (s *stage) compile(ctx context.Context, o Options) error {
	own := filepath.Join(s.dir, "own")
	request := gobuild.Request{Source: o.Source, Package: "./cmd/ztbridge", Arch: o.Arch,
		Version: o.Version, Commit: o.Commit, Date: o.Date.Format(time.DateOnly)}
	if err := gobuild.Build(ctx, request, own); err != nil {
		return err
	}
	binary, err := os.ReadFile(own)
	if err != nil {
		return fmt.Errorf("packing the program: %w", err)
	}
	if err := s.add("/usr/bin/ztbridge", 0o755, "", binary); err != nil {
		return err
	}
	twin := filepath.Join(s.dir, "twin")
	if err := compileTwin(ctx, o.Source, twin); err != nil {
		return err
	}
	if err := s.manual(ctx, twin); err != nil {
		return err
	}
	return s.completions(ctx, twin)
}

// compileTwin compiles a program for this machine that can write its manual: one for another
// architecture cannot be asked.
func compileTwin(ctx context.Context, source, out string) error {
	return gobuild.Build(ctx, gobuild.Request{Source: source, Package: "./cmd/ztbridge",
		Arch: runtime.GOARCH, Tags: "manual"}, out)
}

// Manual writes the manual's pages of section 1, one for each command, into a folder that exists.
func Manual(ctx context.Context, source string, when time.Time, folder string) error {
	work, err := os.MkdirTemp("", "ztbridge-manual-*")
	if err != nil {
		return fmt.Errorf("writing the manual: %w", err)
	}
	defer os.RemoveAll(work)
	twin := filepath.Join(work, "ztbridge")
	if err := compileTwin(ctx, source, twin); err != nil {
		return err
	}
	return writeManual(ctx, twin, when, folder)
}

func writeManual(ctx context.Context, twin string, when time.Time, folder string) error {
	cmd := exec.CommandContext(ctx, twin, "manual", folder, when.Format(time.DateOnly))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("writing the manual: %w: %s", err, out)
	}
	return nil
}

func (s *stage) manual(ctx context.Context, twin string) error {
	folder := filepath.Join(s.dir, "man1")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return fmt.Errorf("packing the manual: %w", err)
	}
	if err := writeManual(ctx, twin, s.when, folder); err != nil {
		return err
	}
	pages, _ := filepath.Glob(filepath.Join(folder, "*.1")) // the pattern is well-formed
	if len(pages) == 0 {
		return errors.New("packing the manual: it has no pages")
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return fmt.Errorf("packing the manual: %w", err)
		}
		packed, err := gzipped(text)
		if err != nil {
			return err
		}
		destination := "/usr/share/man/man1/" + filepath.Base(page) + ".gz"
		if err := s.add(destination, 0o644, "", packed); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) completions(ctx context.Context, twin string) error {
	for shell, destination := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/ztbridge",
		"zsh":  "/usr/share/zsh/vendor-completions/_ztbridge",
		"fish": "/usr/share/fish/vendor_completions.d/ztbridge.fish",
	} {
		script, err := exec.CommandContext(ctx, twin, "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("generating completions for %s: %w", shell, err)
		}
		if err := s.add(destination, 0o644, "", script); err != nil {
			return err
		}
	}
	return nil
}

// sources adds what lies in the checkout and beside this file.
func (s *stage) sources(o Options) error {
	configs := filepath.Join(o.Source, "configs")
	for pattern, destination := range map[string]string{
		"systemd/*.service": "/usr/lib/systemd/system",
		"systemd/*.socket":  "/usr/lib/systemd/system", "sysusers.d/*.conf": "/usr/lib/sysusers.d",
		"tmpfiles.d/*.conf":      "/usr/lib/tmpfiles.d",
		"networkd.conf.d/*.conf": "/usr/lib/systemd/networkd.conf.d",
		"NetworkManager/*.conf":  "/usr/lib/NetworkManager/conf.d",
		"examples/*.yaml":        "/usr/share/doc/ztbridge/examples",
		"prometheus/*":           "/usr/share/doc/ztbridge/prometheus",
	} {
		matches, _ := filepath.Glob(filepath.Join(configs, pattern)) // the patterns are well-formed
		if len(matches) == 0 {
			return fmt.Errorf("packing configs/%s: there is none", pattern)
		}
		for _, match := range matches {
			data, err := os.ReadFile(match)
			if err != nil {
				return fmt.Errorf("packing %s: %w", match, err)
			}
			if err := s.add(destination+"/"+filepath.Base(match), 0o644, "", data); err != nil {
				return err
			}
		}
	}
	reference, err := os.ReadFile(filepath.Join(configs, "ztbridge.yaml"))
	if err != nil {
		return fmt.Errorf("packing the configuration: %w", err)
	}
	return s.documents(o, reference)
}

func (s *stage) documents(o Options, reference []byte) error {
	manual, err := gzipped([]byte(configPage(reference, s.when)))
	if err != nil {
		return err
	}
	changelog, err := gzipped(fmt.Appendf(nil,
		"ztbridge (%s) unstable; urgency=medium\n\n  * See the project's history.\n\n -- %s  %s\n",
		o.Version, maintainer, s.when.Format(time.RFC1123Z)))
	if err != nil {
		return err
	}
	copyright, err := fs.ReadFile(embedded, "files/copyright")
	if err != nil {
		return fmt.Errorf("packing the copyright: %w", err)
	}
	overrides, err := fs.ReadFile(embedded, "files/lintian-overrides")
	if err != nil {
		return fmt.Errorf("packing lintian's overrides: %w", err)
	}
	upgrades, err := fs.ReadFile(embedded, "files/52ztbridge-unattended-upgrades")
	if err != nil {
		return fmt.Errorf("packing the origin of upgrades: %w", err)
	}
	for _, f := range []struct {
		destination string
		mode        os.FileMode
		kind        string
		data        []byte
	}{
		// This is no conffile. dpkg asks about an edited one whenever a release explains a key
		// better, and unattended-upgrades skips such a release. See postinst.
		{template, 0o644, "", commentedOut(reference)},
		{"/etc/apt/apt.conf.d/52ztbridge-unattended-upgrades", 0o644, "config|noreplace", upgrades},
		{"/usr/share/doc/ztbridge/examples/ztbridge.yaml", 0o644, "", reference},
		{"/usr/share/man/man5/ztbridge.yaml.5.gz", 0o644, "", manual},
		{"/usr/share/doc/ztbridge/copyright", 0o644, "", copyright},
		{"/usr/share/doc/ztbridge/changelog.gz", 0o644, "", changelog},
		{"/usr/share/lintian/overrides/ztbridge", 0o644, "", overrides},
	} {
		if err := s.add(f.destination, f.mode, f.kind, f.data); err != nil {
			return err
		}
	}
	return nil
}

// template is what postinst makes the first configuration of.
const template = "/usr/share/ztbridge/ztbridge.yaml"

// commentedOut disables every line of the reference: a package must not join the example's network.
func commentedOut(reference []byte) []byte {
	lines := strings.Split(string(reference), "\n")
	for i, line := range lines {
		if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed[0] != '#' {
			lines[i] = "#" + line
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

const maintainer = "ztbridge authors <ztbridge@users.noreply.github.com>"

func write(s stage, o Options) (name string, err error) {
	scripts := map[string]string{}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		text, err := fs.ReadFile(embedded, "files/"+script)
		if err != nil {
			return "", fmt.Errorf("packing %s: %w", script, err)
		}
		scripts[script] = filepath.Join(s.dir, script)
		if err := os.WriteFile(scripts[script], text, 0o755); err != nil {
			return "", fmt.Errorf("packing %s: %w", script, err)
		}
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "ztbridge", Arch: o.Arch, Platform: "linux", Version: o.Version,
		VersionSchema: "none", Section: "net", Priority: "optional",
		Maintainer: maintainer, License: "GPL-3.0-or-later", MTime: s.when,
		Description: "Gateway from ZeroTier to OpenVPN that does not leak\n" +
			"What enters by a ZeroTier network, by an OpenVPN endpoint or by an " +
			"interface\nleaves by the ways that a policy names, in their order, or not at all: " +
			"through\n" +
			"a provider's OpenVPN tunnel, another ZeroTier member, or this machine's " +
			"own\nconnection.",
		Overridables: nfpm.Overridables{
			Depends: []string{"openvpn (>= 2.6)", "passwd", "systemd",
				"init-system-helpers (>= 1.54~)"},
			// What speaks to the firewalls of others is of use only where there is one made with
			// it.
			Recommends: []string{"ca-certificates", "iptables"},
			Suggests:   []string{"zerotier-one"},
			Contents:   s.contents,
			Scripts: nfpm.Scripts{PostInstall: scripts["postinst"], PreRemove: scripts["prerm"],
				PostRemove: scripts["postrm"]},
			Deb: nfpm.Deb{Compression: "xz"},
		},
	})
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return "", fmt.Errorf("describing the package: %w", err)
	}
	var out bytes.Buffer
	if err := nfpmdeb.Default.Package(info, &out); err != nil {
		return "", fmt.Errorf("writing the package: %w", err)
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return "", fmt.Errorf("making the output folder: %w", err)
	}
	name = filepath.Join(o.Out, fmt.Sprintf("ztbridge_%s_%s.deb", o.Version, o.Arch))
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("writing the package: %w", err)
	}
	return name, nil
}

func gzipped(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	return out.Bytes(), nil
}
