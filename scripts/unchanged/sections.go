package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// volatile are kernel parameters that the kernel changes by itself.
var volatile = regexp.MustCompile(`^(` + strings.Join([]string{
	`kernel/random/`, `kernel/ns_last_pid$`, `kernel/pty/nr$`, `kernel/tainted$`,
	`kernel/perf_event_max_sample_rate$`, `kernel/(sched|numa)_`, `kernel/spl/`,
	`fs/(dentry-state|file-nr|inode-nr|inode-state|aio-nr)$`, `fs/quota/`, `fs/binfmt_misc/`,
	`dev/`, `sunrpc/`, `vm/stat_refresh$`,
	`net/netfilter/nf_conntrack_count$`, `net/ipv4/tcp_available_congestion_control$`,
	`net/ipv4/(tcp|udp)_mem$`,
}, "|") + `)`)

// sysctls returns the kernel parameters below dir that can be read.
func sysctls(dir string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		key, _ := filepath.Rel(dir, path)
		if err != nil || d.IsDir() || volatile.MatchString(key) {
			return nil //nolint:nilerr // some may not be read, or go with their interface
		}
		if value, err := os.ReadFile(path); err == nil {
			found[key] = strings.TrimSpace(string(value))
		}
		return nil
	})
	return found, err
}

// modes returns mode and owners of each path and of all directories above it. A path that does not
// exist is left out.
func modes(paths []string) (string, error) {
	seen := map[string]bool{}
	var lines []string
	for _, path := range paths {
		for path = filepath.Clean(path); !seen[path]; path = filepath.Dir(path) {
			seen[path] = true
			line, err := describe(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", err
			}
			lines = append(lines, line)
		}
	}
	return joined(lines), nil
}

// describe returns a path with mode and owners.
func describe(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	owner := ""
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
	}
	return fmt.Sprintf("%s %v%s", path, info.Mode(), owner), nil
}

// files returns everything below a directory with modes, owners and sums of the contents.
func files(dir string) (string, error) {
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // an ordinary user may not read all of it
		}
		line, err := describe(path)
		if err != nil {
			return nil //nolint:nilerr // it was removed meanwhile
		}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path) // what was removed meanwhile has none
			line += " → " + target
		case d.Type().IsRegular():
			line += " " + sum(path)
		}
		lines = append(lines, line)
		return nil
	})
	return joined(lines), err
}

// sum returns the beginning of a file's SHA-256, or nothing if it cannot be read.
func sum(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// leftovers returns the network namespaces, and what tests of this module forgot in directories for
// temporary files.
func leftovers(netns string, dirs []string) ([]string, error) {
	all, err := names(netns, "")
	if err != nil {
		return nil, err
	}
	for _, dir := range slices.Compact(slices.Sorted(slices.Values(dirs))) {
		for _, prefix := range []string{"ztb", "Test"} {
			found, err := names(dir, prefix)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// names returns the entries of a directory that begin with prefix. One that does not exist has
// none.
func names(dir, prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found, err
}

// mounts returns what is mounted where, by proc_pid_mountinfo(5), but for network namespaces and
// the directory that ip(8) keeps them in.
func mounts(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || strings.HasPrefix(fields[4], "/run/netns") {
			continue
		}
		kind := strings.Join(fields[slices.Index(fields, "-")+1:], " ")
		lines = append(lines, fmt.Sprintf("%s %s %s", fields[4], fields[5], kind))
	}
	return joined(lines), nil
}

var (
	changing = regexp.MustCompile(` (qdisc|state|qlen) \S+`)
	lifetime = regexp.MustCompile(`\s*valid_lft \S+ preferred_lft \S+`)
)

// links leaves out of the output of `ip -o link` what traffic changes.
func links(out string) string {
	return strings.ReplaceAll(changing.ReplaceAllString(out, ""), `\`, "")
}

// addresses removes lifetimes from the output of `ip -o addr`, and addresses that the kernel
// replaces by itself (RFC 8981).
func addresses(out string) string {
	var lines []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, " temporary ") {
			line = strings.ReplaceAll(lifetime.ReplaceAllString(line, ""), `\`, "")
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return joined(lines)
}

// joined returns lines as a text that ends in a newline, unless it is empty.
func joined(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
