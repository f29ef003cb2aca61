package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute/netlab"
)

// machine says where to look.
type machine struct {
	shared []string // directories whose modes, with their parents', are compared
	temp   []string // directories where tests leave files
	etc    string
	sysctl string // /proc/sys
	netns  string // where ip(8) keeps namespaces
}

func theMachine() machine {
	return machine{
		shared: []string{"/tmp", "/var/tmp", "/run", "/etc", "/var/lib", "/var/cache", "/dev/shm",
			"/dev/net/tun", os.TempDir()},
		temp: []string{"/tmp", "/var/tmp", "/run", os.TempDir()},
		etc:  "/etc", sysctl: "/proc/sys", netns: "/run/netns",
	}
}

// state is what a look at the machine found.
type state struct {
	snapshot netlab.Snapshot
	sysctls  map[string]string
	services map[process]bool
	ours     []string // namespaces, and files of tests
	netnsDir bool     // whether ip(8) has a directory for namespaces
}

// look reads the machine's state. Without root's rights it leaves out what only root may read.
func (m machine) look(ctx context.Context) (state, error) {
	tables, err := netlab.SnapshotHere(ctx)
	if err != nil && os.Geteuid() == 0 {
		return state{}, err
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "unchanged: WARNING: only root may read, and so not compared:", err)
	}
	s := state{snapshot: tables, services: services()}
	for _, q := range []struct {
		name string
		read func() (string, error)
	}{
		{"links", func() (string, error) { return output(ctx, links, "ip", "-o", "link") }},
		{"addresses", func() (string, error) { return output(ctx, addresses, "ip", "-o", "addr") }},
		{"mounts", func() (string, error) { return mounts("/proc/self/mountinfo") }},
		{"modes", func() (string, error) { return modes(m.shared) }},
		{"files in " + m.etc, func() (string, error) { return files(m.etc) }},
	} {
		text, err := q.read()
		if err != nil {
			return state{}, fmt.Errorf("reading %s: %w", q.name, err)
		}
		s.snapshot = s.snapshot.With(q.name, text)
	}
	if s.ours, err = leftovers(m.netns, m.temp); err != nil {
		return state{}, fmt.Errorf("reading what tests leave: %w", err)
	}
	_, err = os.Stat(m.netns)
	s.netnsDir = err == nil
	s.sysctls, err = sysctls(m.sysctl)
	return s, err
}

// compare returns, in words, how the machine differs later.
func (s state) compare(later state) string {
	var b strings.Builder
	b.WriteString(later.snapshot.Diff(s.snapshot))
	for _, key := range slices.Sorted(maps.Keys(s.sysctls)) {
		// One that appeared came with a kernel module or with a link.
		if now, ok := later.sysctls[key]; !ok || now != s.sysctls[key] {
			fmt.Fprintf(&b, "# sysctl\n- %s = %s\n+ %s = %s\n", key, s.sysctls[key], key, now)
		}
	}
	for _, name := range later.ours {
		// One that went was left by a run that crashed, and this one swept it.
		if !slices.Contains(s.ours, name) {
			fmt.Fprintf(&b, "# left behind\n+ %s\n", name)
		}
	}
	for p := range s.services {
		if !later.services[p] {
			fmt.Fprintf(&b, "# processes\n- %d %s\n", p.pid, p.name)
		}
	}
	return b.String()
}

// removeNetnsDir removes the directory that ip(8) makes and mounts for its first namespace. It
// stays if it was there before or holds a namespace.
func (m machine) removeNetnsDir(before state) error {
	left, err := os.ReadDir(m.netns)
	if before.netnsDir || err != nil || len(left) > 0 || os.Geteuid() != 0 {
		return nil //nolint:nilerr // there is no directory
	}
	for unix.Unmount(m.netns, unix.MNT_DETACH) == nil {
		continue // it may be mounted over itself more than once
	}
	return os.Remove(m.netns)
}

// output runs a program and returns what clean makes of its output.
func output(ctx context.Context, clean func(string) string, name string,
	args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	return clean(string(out)), err
}

// process is a program that runs; a process id alone is used again.
type process struct {
	pid, parent int
	name        string
	started     string // in ticks since the boot
}

// services returns the processes of the system that have run for a minute: those that init started
// for no person.
func services() map[process]bool {
	const age, people = time.Minute, 1000
	found := map[process]bool{}
	for _, p := range processes() {
		info, err := os.Stat(fmt.Sprintf("/proc/%d", p.pid))
		if err != nil || p.parent != 1 {
			continue
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && st.Uid < people && time.Since(info.ModTime()) > age {
			found[p] = true
		}
	}
	return found
}

// processes returns all processes that have not ended, as far as they can be read.
func processes() []process {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	var all []process
	for _, dir := range dirs {
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		if p, ok := parseStat(string(stat)); ok {
			all = append(all, p)
		}
	}
	return all
}

// parseStat reads /proc/PID/stat, see proc_pid_stat(5). It returns false for a zombie.
func parseStat(stat string) (process, bool) {
	open, end := strings.Index(stat, "("), strings.LastIndex(stat, ")")
	if open < 0 || end < open {
		return process{}, false
	}
	p := process{name: stat[open+1 : end]}
	fields := strings.Fields(stat[end+1:])
	const started = 22 - 3 // fields are counted from 1, and the first two are cut off
	if len(fields) <= started || fields[0] == "Z" {
		return process{}, false
	}
	p.started = fields[started]
	_, err := fmt.Sscan(stat[:open]+" "+fields[1], &p.pid, &p.parent)
	return p, err == nil
}
