package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ztbridge/image/build"
	"ztbridge/image/build/deb"
	"ztbridge/image/build/gobuild"
	"ztbridge/image/build/pkglock"
)

type buildFlags struct {
	target, out, cache, mirror, source, version string
	lock, deb, updateKey, updateURL             string
	suite, kernel                               string
	zerotier                                    zerotierFlags
}

func buildCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build --target TARGET -o FILE",
		Short: "Build a disk image",
		Long: `Build a disk image from locked Debian packages, without loop devices, mounts, or any network
but the package mirror. It needs root's rights for mmdebstrap. The second build with the
same lock takes its packages from the cache.

Beside FILE.img.zst are written: FILE.qcow2 (clouds), FILE.slot.zst (for updates),
FILE.manifest.json, FILE.spdx.json.

ZeroTier's service is not in Debian: give the vendor's package for the target's architecture
and its SHA-256, or the vendor's apt repository with its key and that key's fingerprint.
Without it the image is good for tests only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.target, "target", "", "cloud-amd64, cloud-arm64 or rpi-arm64")
	releaseFlags(flags, &f.suite, &f.kernel)
	flags.StringVarP(&f.out, "output", "o", "", "file to write, .img.zst is added")
	flags.StringVar(&f.cache, "cache", "/var/cache/ztbridge-image", "folder that survives builds")
	flags.StringVar(&f.mirror, "mirror", "",
		"base address above debian/ and debian-security/ (default: the one that this machine's "+
			"apt uses)")
	flags.StringVar(&f.source, "source", ".", "checkout whose commands are compiled")
	flags.StringVar(&f.version, "version", "0.0.0", "version of the image")
	flags.StringVar(&f.lock, "lock", "",
		"lock file (default: the one of the checkout in image/build/lock)")
	flags.StringVar(&f.deb, "deb", "", "ztbridge's own package (default: built from the checkout)")
	flags.StringVar(&f.updateKey, "update-key", "",
		"file with the public key that updates must be signed with; without it the image takes "+
			"none")
	flags.StringVar(&f.updateURL, "update-url", "",
		"https address of the folder with channel files, in which boxes look for updates")
	f.zerotier.register(flags)
	return cmd
}

func (f *buildFlags) run(cmd *cobra.Command) error {
	profile, err := f.check()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	mirror, err := mirrorOr(ctx, f.mirror)
	if err != nil {
		return err
	}
	progress := progressTo(cmd.ErrOrStderr())
	if f.zerotier.without {
		progress("zerotier", "left out: this is a test image")
	}
	options := build.Options{
		Profile: profile, Mirror: mirror, Cache: f.cache, Out: strings.TrimSuffix(f.out,
			".img.zst"),
		Version: f.version, Deb: f.deb, UpdateURL: f.updateURL, Progress: progress,
	}
	work, err := os.MkdirTemp("", "ztbridge-image-*")
	if err != nil {
		return fmt.Errorf("making a work folder: %w", err)
	}
	defer os.RemoveAll(work)
	if err := f.inputs(ctx, &options, work); err != nil {
		return err
	}
	files, err := build.Build(ctx, options)
	if err != nil {
		if errors.Is(err, os.ErrPermission) || os.Geteuid() != 0 {
			return fmt.Errorf("%w\nhint: mmdebstrap needs root's rights", err)
		}
		return err
	}
	for _, file := range files {
		fmt.Fprintln(cmd.OutOrStdout(), file)
	}
	return nil
}

// inputs reads, downloads and compiles what goes into the image; files are put into the folder
// work.
func (f *buildFlags) inputs(ctx context.Context, options *build.Options, work string) (err error) {
	if options.Lock, err = readLock(f.lockFile(options.Profile)); err != nil {
		return err
	}
	if f.updateKey != "" {
		if options.UpdateKey, err = os.ReadFile(f.updateKey); err != nil {
			return fmt.Errorf("reading update key: %w", err)
		}
	}
	if options.Example, err = os.ReadFile(filepath.Join(f.source,
		"configs/ztbridge.yaml")); err != nil {
		return fmt.Errorf("reading the reference configuration: %w", err)
	}
	if options.ZeroTierDeb, err = f.zerotier.fetch(ctx, options.Profile.Arch, work); err != nil {
		return err
	}
	if err := f.compile(ctx, options, work); err != nil {
		return err
	}
	if options.Deb == "" {
		options.Deb, err = deb.Build(ctx, deb.Options{Source: f.source, Arch: options.Profile.Arch,
			Version: f.version, Date: options.Lock.Date, Out: work})
	}
	return err
}

func (f *buildFlags) check() (build.Profile, error) {
	profile, err := build.ProfileOf(f.target, f.suite, build.KernelSource(f.kernel))
	if err != nil {
		return profile, fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.out == "" {
		return profile, fmt.Errorf("%w: -o is missing", errUsage)
	}
	return profile, f.zerotier.check()
}

func (f *buildFlags) lockFile(p build.Profile) string {
	return cmp.Or(f.lock, filepath.Join(f.source, "image/build/lock", p.LockName()))
}

func readLock(name string) (*pkglock.Lock, error) {
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading lock: %w\nhint: make it with `ztbridge-image lock`, with the "+
			"same --target, --suite and --kernel", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading lock: %w", err)
	}
	defer file.Close()
	lock, err := pkglock.Parse(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return lock, nil
}

// compile makes the binaries that no package has: the first process and the image's own helper.
func (f *buildFlags) compile(ctx context.Context, options *build.Options, work string) (err error) {
	options.Progress("binaries", "compiling for "+options.Profile.Arch)
	for pkg, data := range map[string]*[]byte{"./image/device/init": &options.Init,
		"./cmd/ztbridge-appliance": &options.Appliance} {
		out := filepath.Join(work, filepath.Base(pkg))
		request := gobuild.Request{Source: f.source, Package: pkg, Arch: options.Profile.Arch,
			Version: f.version}
		if err := gobuild.Build(ctx, request, out); err != nil {
			return err
		}
		if *data, err = os.ReadFile(out); err != nil {
			return fmt.Errorf("compiling: %w", err)
		}
	}
	return nil
}
