package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ztbridge/image/build/pkglock"
)

// Progress reports the step that a build has reached. It must not block.
type Progress func(step, detail string)

// dpkgExcludes are paths that dpkg does not unpack. The profile drops them anyway; not unpacking
// them saves time.
var dpkgExcludes = []string{"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*",
	"/usr/share/info/*"}

// rootTar returns the file with the installed packages of the lock, and makes it if the cache lacks
// it. Its name has a hash of everything that decides its content. It blocks for minutes then.
func rootTar(ctx context.Context, p Profile, lock *pkglock.Lock, store *pkglock.Store, cache string,
	progress Progress) (string, error) {
	args := []string{"--quiet", "--mode=root", "--variant=essential", "--format=tar",
		"--architectures=" + p.Arch,
		"--include=" + strings.Join(p.Packages, ","), `--aptopt=Apt::Install-Recommends "false"`}
	for _, pattern := range dpkgExcludes {
		args = append(args, "--dpkgopt=path-exclude="+pattern)
	}
	sum := sha256.Sum256([]byte(lock.Hash(pkglock.Install) + "\n" + strings.Join(args, "\n")))
	file := filepath.Join(cache, "root-"+hex.EncodeToString(sum[:8])+".tar")
	if _, err := os.Stat(file); err == nil {
		progress("root", "taken from the cache")
		return file, nil
	}
	if err := enableForeign(ctx, p.Arch); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, "repo-*")
	if err != nil {
		return "", fmt.Errorf("making local repository: %w", err)
	}
	defer os.RemoveAll(work)
	if err := store.WriteRepo(ctx, lock, work); err != nil {
		return "", err
	}
	progress("root", fmt.Sprintf("installing %s packages with mmdebstrap; this takes minutes",
		p.Arch))
	// apt drops its privileges and must still reach the repository.
	if err := os.Chmod(work, 0o755); err != nil {
		return "", fmt.Errorf("opening the local repository: %w", err)
	}
	partial := file + ".partial"
	defer os.Remove(partial)
	args = append(args, "", partial, "deb [trusted=yes] copy://"+work+" ./")
	if err := run(ctx, []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", lock.Date.Unix())},
		"mmdebstrap", args...); err != nil {
		return "", fmt.Errorf("installing packages: %w", err)
	}
	return file, os.Rename(partial, file)
}

// enableForeign registers the emulator that runs maintainer scripts of another architecture.
func enableForeign(ctx context.Context, arch string) error {
	host, err := exec.CommandContext(ctx, "dpkg", "--print-architecture").Output()
	if err != nil {
		return fmt.Errorf("finding the host's architecture: %w", err)
	}
	if strings.TrimSpace(string(host)) == arch {
		return nil
	}
	const registry = "/proc/sys/fs/binfmt_misc"
	if _, err := os.Stat(filepath.Join(registry, "register")); err != nil {
		if err := run(ctx, nil, "mount", "-t", "binfmt_misc", "binfmt_misc", registry); err != nil {
			return fmt.Errorf("making the emulator known to the kernel: %w", err)
		}
	}
	emulator := map[string]string{"arm64": "qemu-aarch64", "amd64": "qemu-x86_64"}[arch]
	if err := registerFormat(ctx, registry, "/usr/lib/binfmt.d", emulator); err != nil {
		return fmt.Errorf("enabling %s: %w", emulator, err)
	}
	return nil
}

// registerFormat registers an emulator with the kernel unless that is done. Debian 13's packages
// describe it in a file for systemd, which need not run here; those of Debian 12 use
// binfmt-support.
func registerFormat(ctx context.Context, registry, descriptions, emulator string) error {
	if _, err := os.Stat(filepath.Join(registry, emulator)); err == nil {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(descriptions, emulator+".conf"))
	if errors.Is(err, os.ErrNotExist) {
		return run(ctx, nil, "update-binfmts", "--enable", emulator)
	}
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if !strings.HasPrefix(line, ":") {
			continue
		}
		if err := os.WriteFile(filepath.Join(registry, "register"), []byte(line), 0); err != nil {
			return err
		}
	}
	return nil
}

// run executes a tool. The end of its output is part of the error when it fails.
func run(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	// SIGTERM, not SIGKILL: mmdebstrap has mounts and a chroot to remove.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	cmd.Env = append(append(os.Environ(), "LC_ALL=C", "TZ=UTC"), env...)
	var output outputTail
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, output.String())
	}
	return nil
}

// filter returns what a tool writes. Its complaints are part of the error when it fails.
func filter(ctx context.Context, in io.Reader, name string, args ...string) (*bytes.Buffer, error) {
	var out, problem bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &problem
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, problem.String())
	}
	return &out, nil
}
