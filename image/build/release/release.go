package release

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ztbridge/image/build/aptkey"
	"ztbridge/image/build/deb"
	"ztbridge/image/build/gobuild"
	"ztbridge/image/device/update"
)

// channelLife is how long boxes believe a channel file. It is signed again with each release, and
// whenever there is none for that long.
const channelLife = 90 * 24 * time.Hour

// channelName is the one channel there is.
const channelName = "stable"

// Options says what to release.
type Options struct {
	Source  string // the checkout
	Version string // Debian's form: 1.2.3
	Commit  string
	Date    time.Time // of the commit: every time stamp of the release
	// URL is where the tree will be served, https; empty: the user-data has a placeholder.
	URL    string
	Images string // folder with what `build` wrote, TARGET.img.zst and its like; empty: none
	Keys   Keys
	Out    string // folder, which must not exist or be empty
	// Progress tells a person what is done, and what is left out. It must not block.
	Progress func(step, detail string)
}

// Make writes the release's tree. It blocks for minutes: programs are compiled for three
// architectures.
func Make(ctx context.Context, o Options) error {
	if left, err := os.ReadDir(o.Out); err == nil && len(left) > 0 {
		return fmt.Errorf("making a release: %s is not empty: remove it first", o.Out)
	}
	o.Date = o.Date.UTC()
	for _, step := range []func(context.Context) error{o.notes, o.manual, o.userData, o.programs,
		o.packages,
		o.images, o.updates, o.keys, o.sums} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// path is a place in the tree, whose folder it makes.
func (o *Options) path(name string) (string, error) {
	file := filepath.Join(o.Out, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", fmt.Errorf("making a release: %w", err)
	}
	return file, nil
}

func (o *Options) write(name string, data []byte) error {
	file, err := o.path(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return fmt.Errorf("making a release: %w", err)
	}
	return nil
}

// notes are the version's section of the changelog, or that of what is not released yet.
func (o *Options) notes(context.Context) error {
	text, err := os.ReadFile(filepath.Join(o.Source, ".github/CHANGELOG.md"))
	if err != nil {
		return fmt.Errorf("reading the changelog: %w", err)
	}
	notes, err := section(string(text), o.Version)
	if err != nil {
		return err
	}
	return o.write("RELEASE-NOTES.md", []byte(notes))
}

// section returns the part of a changelog under the heading of a version, or under "## Unreleased".
// A heading is "## 1.2.3" with any text after it.
func section(changelog, version string) (string, error) {
	var found string
	for _, part := range strings.Split("\n"+changelog, "\n## ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		name, _, _ := strings.Cut(strings.TrimPrefix(heading, "v"), " ")
		switch {
		case name == version:
			return "# ztbridge " + version + "\n" + strings.TrimRight(body, "\n") + "\n", nil
		case strings.EqualFold(name, "Unreleased"):
			found = "# ztbridge " + version + "\n" + strings.TrimRight(body, "\n") + "\n"
		}
	}
	if found == "" {
		return "", fmt.Errorf("writing the notes: the changelog says nothing about %s", version)
	}
	return found, nil
}

// exampleURL is the example's word for where a release is served.
const exampleURL = "https://ztbridge.example.org"

// userData is the example with the release's own address.
func (o *Options) userData(context.Context) error {
	text, err := os.ReadFile(filepath.Join(o.Source, "configs/examples/user-data.yaml"))
	if err != nil {
		return fmt.Errorf("reading the example of user-data: %w", err)
	}
	if o.URL == "" {
		o.Progress("user-data", "without an address (--url): whoever copies it must put it in")
	} else {
		text = bytes.ReplaceAll(text, []byte(exampleURL), []byte(strings.TrimSuffix(o.URL, "/")))
	}
	return o.write("user-data.yaml", text)
}

func (o *Options) manual(ctx context.Context) error {
	o.Progress("manual", "writing")
	file, err := o.path("man/x")
	if err != nil {
		return err
	}
	return deb.Manual(ctx, o.Source, o.Date, filepath.Dir(file))
}

func (o *Options) programs(ctx context.Context) error {
	for _, arch := range deb.Architectures {
		o.Progress("programs", "compiling for "+arch)
		file, err := o.path(fmt.Sprintf("bin/ztbridge-%s-linux-%s", o.Version, arch))
		if err != nil {
			return err
		}
		if err := gobuild.Build(ctx, gobuild.Request{Source: o.Source, Package: "./cmd/ztbridge",
			Arch: arch, Version: o.Version, Commit: o.Commit,
			Date: o.Date.Format(time.DateOnly)}, file); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) packages(ctx context.Context) error {
	var debs []string
	for _, arch := range deb.Architectures {
		o.Progress("packages", "packing for "+arch)
		file, err := deb.Build(ctx, deb.Options{Source: o.Source, Arch: arch, Version: o.Version,
			Commit: o.Commit, Date: o.Date, Out: filepath.Join(o.Out, "packages")})
		if err != nil {
			return err
		}
		debs = append(debs, file)
	}
	o.Progress("apt", "making and signing the repository")
	return repository(ctx, filepath.Join(o.Out, "apt"), debs, o.Date, o.Keys.Apt)
}

// images copies what the builder wrote.
func (o *Options) images(context.Context) error {
	if o.Images == "" {
		o.Progress("images", "LEFT OUT: this release has no disk images and no update bundles")
		return nil
	}
	files, _ := filepath.Glob(filepath.Join(o.Images, "*")) // the pattern is well-formed
	if len(files) == 0 {
		return fmt.Errorf("releasing images: %s has none", o.Images)
	}
	for _, file := range files {
		if strings.HasSuffix(file, slotSuffix) {
			continue // its bundle is what boxes take
		}
		to, err := o.path("images/" + filepath.Base(file))
		if err != nil {
			return err
		}
		if err := copyFile(file, to); err != nil {
			return fmt.Errorf("releasing images: %w", err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// slotSuffix ends the name of a slot, after "ztbridge-TARGET".
const slotSuffix = ".slot.zst"

// updates signs a bundle of each slot, and the channel file that names them.
func (o *Options) updates(context.Context) error {
	channel := update.Channel{Name: channelName, Version: o.Version, Created: o.Date,
		Expires: o.Date.Add(channelLife), Bundles: map[string]update.ChannelEntry{}}
	if o.Images != "" {
		slots, err := filepath.Glob(filepath.Join(o.Images, "ztbridge-*"+slotSuffix))
		if err != nil {
			return fmt.Errorf("looking for slots: %w", err)
		}
		for _, slot := range slots {
			target := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(slot), "ztbridge-"),
				slotSuffix)
			if channel.Bundles[target], err = o.bundle(target, slot); err != nil {
				return err
			}
		}
	}
	text, err := json.MarshalIndent(channel, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the channel file: %w", err)
	}
	return o.writeSigned("updates/"+channelName+".json", append(text, '\n'))
}

func (o *Options) bundle(target, slot string) (entry update.ChannelEntry, err error) {
	o.Progress("updates", "signing the bundle of "+target)
	entry.File = fmt.Sprintf("ztbridge-%s-%s.update", target, o.Version)
	file, err := o.path("updates/" + entry.File)
	if err != nil {
		return entry, err
	}
	f, err := os.Create(file)
	if err != nil {
		return entry, fmt.Errorf("writing the bundle: %w", err)
	}
	manifest := update.Manifest{Target: target, Version: o.Version, Created: o.Date}
	if err := errors.Join(update.Write(f, manifest, slot, o.Keys.Release), f.Close()); err != nil {
		return entry, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return entry, fmt.Errorf("writing the bundle: %w", err)
	}
	entry.Size = info.Size()
	return entry, nil
}

// writeSigned writes a file and its signature, in minisign's format, beside it.
func (o *Options) writeSigned(name string, text []byte) error {
	comment := fmt.Sprintf("ztbridge %s of %s: %s", o.Version, o.Date.Format(time.DateOnly),
		filepath.Base(name))
	signature, err := update.Sign(text, comment, o.Keys.Release)
	if err != nil {
		return err
	}
	return errors.Join(o.write(name, text), o.write(name+update.SignatureSuffix, signature))
}

// keys are the public halves.
func (o *Options) keys(context.Context) error {
	apt, err := aptkey.Armor(o.Keys.Apt)
	if err != nil {
		return err
	}
	public := o.Keys.Release.Public().(ed25519.PublicKey)
	minisign := "untrusted comment: ztbridge's release key\n" + update.MinisignKey(public) + "\n"
	return errors.Join(o.write("ztbridge.asc", apt), o.write("minisign.pub", []byte(minisign)),
		o.write(releasePubFile, update.EncodeKey(public)))
}

// sums lists every file of the tree in the form that sha256sum checks.
func (o *Options) sums(context.Context) error {
	var list strings.Builder
	err := filepath.WalkDir(o.Out, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		name, err := filepath.Rel(o.Out, file)
		fmt.Fprintf(&list, "%x  %s\n", sum.Sum(nil), name)
		return err
	})
	if err != nil {
		return fmt.Errorf("summing the release: %w", err)
	}
	return o.writeSigned("SHA256SUMS", []byte(list.String()))
}
