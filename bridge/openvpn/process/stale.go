package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// writePIDFile records a process by its id and its start time in ticks since boot. The kernel
// reuses ids; the two together are unique.
func writePIDFile(path string, pid int) error {
	start, err := startTime(pid)
	if err != nil {
		return fmt.Errorf("writing pidfile: %w", err)
	}
	line := fmt.Appendf(nil, "%d %d\n", pid, start)
	if err := renameio.WriteFile(path, line, 0o600,
		renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("writing pidfile: %w", err)
	}
	return nil
}

// EndStale ends the process that an earlier run recorded at pidFile, if it is still the same one.
// It must have the same id and start time, and argument in its command line. It waits for its end
// and removes the file. A missing file is no error. ended reports whether there was one.
func EndStale(pidFile, argument string) (ended bool, err error) {
	pid, start, err := readPIDFile(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil && isSame(pid, start, argument) {
		if err := killByFD(pid, start, argument); err != nil {
			return false, err
		}
		ended = true
	}
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return ended, fmt.Errorf("removing a stale pidfile: %w", err)
	}
	return ended, nil
}

func readPIDFile(path string) (pid int, start uint64, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscanf(string(data), "%d %d\n", &pid, &start); err != nil || pid <= 1 {
		return 0, 0, fmt.Errorf("reading pidfile %s: malformed", path)
	}
	return pid, start, nil
}

// killByFD kills through a pidfd, so that the id cannot be given to another process in between.
func killByFD(pid int, start uint64, argument string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening stale process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if !isSame(pid, start, argument) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil &&
		!errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("ending stale process %d: %w", pid, err)
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	deadline := time.Now().Add(stopGrace)
	for {
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline).Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return fmt.Errorf("stale process %d does not end", pid)
		}
		return nil
	}
}

func isSame(pid int, start uint64, argument string) bool {
	now, err := startTime(pid)
	if err != nil || now != start {
		return false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	for arg := range bytes.SplitSeq(cmdline, []byte{0}) {
		if string(arg) == argument {
			return true
		}
	}
	return false
}

// startTime returns field 22 of /proc/PID/stat (proc_pid_stat(5)).
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses and may hold anything, spaces and ")" included.
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, errors.New("reading the start time of a process: malformed stat")
	}
	fields := strings.Fields(string(stat[i+1:]))
	if len(fields) < 20 {
		return 0, errors.New("reading the start time of a process: malformed stat")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
