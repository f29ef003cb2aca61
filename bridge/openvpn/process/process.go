package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec is what to run.
type Spec struct {
	Path string   // of the program
	Args []string // without the program's name
	// Stdin is written to the program's standard input: a configuration with keys in it, which
	// never touches a disk.
	Stdin string
	// UID and GID are whom it runs as, and Groups its only other groups.
	UID, GID int
	Groups   []uint32
	// Caps are the only capabilities it has (CAP_NET_BIND_SERVICE of an endpoint); usually none.
	Caps []uintptr
	// Sandbox, when not nil, confines it.
	Sandbox *Sandbox
	// PIDFile, when not empty, is written so that EndStale finds the process after a crash. Its
	// directory must not be writable by UID.
	PIDFile string
	// Output receives each line that it prints, one at a time, until Done. It must not block.
	Output func(line string)
}

// Process is a running program.
type Process struct {
	cmd  *exec.Cmd
	uid  int
	done chan struct{}
	err  error // valid after done
}

// stopGrace is how long a program may take to end after SIGTERM. With explicit-exit-notify openvpn
// takes up to a second for each notice.
const stopGrace = 3 * time.Second

// maxOutputLine bounds a line of output, in bytes; longer ones are cut.
const maxOutputLine = 4096

// Start runs the program. The kernel kills it when we die (PR_SET_PDEATHSIG): should
// management-exit not end it, that does. Neither it nor this process leaves a core dump from then
// on, because one would hold keys and passwords.
func Start(s Spec) (*Process, error) {
	p := &Process{uid: s.UID, done: make(chan struct{})}
	// Go asks once whether the kernel has pidfds, and remembers the answer. The question must not
	// come from a thread that may not use them.
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Release()
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return nil, fmt.Errorf("forbidding core dumps: %w", err)
	}
	started, ended := make(chan error, 1), make(chan error, 1)
	var out *os.File
	go func() {
		var err error
		out, err = p.start(s)
		started <- err
		if err == nil {
			ended <- exitError(p.cmd.Process.Wait())
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Path, err)
	}
	go p.follow(s, out, ended)
	if s.PIDFile != "" {
		// A process that cannot be seen has ended, or belongs to another user. Whoever started this
		// program hides such processes (ProtectProc=) and ends them with it. Where the disk is
		// full, openvpn still ends with its management connection.
		if err := writePIDFile(s.PIDFile, p.PID()); err != nil &&
			!errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOSPC) {
			p.Kill()
			return nil, fmt.Errorf("starting %s: %w", s.Path, err)
		}
	}
	return p, nil
}

// follow reads the program's output until it has ended.
func (p *Process) follow(s Spec, out *os.File, ended <-chan error) {
	defer close(p.done)
	readers := make(chan struct{})
	go func() {
		defer close(readers)
		readLines(out, s.Output)
	}()
	p.err = <-ended
	select {
	case <-readers:
	case <-time.After(time.Second): // a grandchild would hold the pipe open; openvpn has none
	}
	_ = out.Close()
	<-readers
	if s.PIDFile != "" {
		_ = os.Remove(s.PIDFile)
	}
}

// start locks its goroutine to a thread, which must live as long as the program, for two reasons.
// The death signal is sent when the thread that forked ends, not the process (prctl(2)), and Go
// ends idle threads as it likes. And what the thread gives up here (ambient capabilities, the right
// to gain privileges, other processes' files) is inherited by the program without touching the
// daemon; the thread is never used again, because the goroutine ends while locked to it.
func (p *Process) start(s Spec) (*os.File, error) {
	runtime.LockOSThread()
	if err := shedPrivileges(); err != nil {
		return nil, err
	}
	stdin, err := memoryFile(s.Stdin)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	p.cmd = exec.Command(s.Path, s.Args...)
	p.cmd.Dir = "/"
	p.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, write, write
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:   syscall.SIGKILL,
		Setpgid:     true, // a Ctrl-C at our terminal is ours to pass on
		AmbientCaps: s.Caps,
	}
	if os.Geteuid() != s.UID || os.Getegid() != s.GID {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(s.UID), Gid: uint32(s.GID),
			Groups: s.Groups}
	}
	if s.Sandbox != nil {
		if err := s.Sandbox.enter(); err != nil {
			_ = out.Close()
			return nil, err
		}
	}
	if err := p.cmd.Start(); err != nil {
		_ = out.Close()
		return nil, err
	}
	return out, nil
}

// shedPrivileges makes this thread's children unable to gain or inherit any.
func shedPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clearing ambient capabilities: %w", err)
	}
	return nil
}

// memoryFile returns an open file with the content that has no name anywhere.
func memoryFile(content string) (*os.File, error) {
	fd, err := unix.MemfdCreate("stdin", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stdin")
	if _, err := io.WriteString(f, content); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("writing a file in memory: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("rewinding a file in memory: %w", err)
	}
	return f, nil
}

func readLines(r io.Reader, output func(string)) {
	b := bufio.NewReaderSize(r, maxOutputLine)
	for {
		line, err := b.ReadSlice('\n')
		if text := strings.TrimRight(string(line), "\r\n"); text != "" && output != nil {
			output(text)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// ExitError says how a program ended by itself.
type ExitError struct {
	Code   int            // -1 when a signal ended it
	Signal syscall.Signal // 0 when none did
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("killed by %v", e.Signal)
	}
	return fmt.Sprintf("exited with code %d", e.Code)
}

func exitError(state *os.ProcessState, err error) error {
	if err != nil {
		return err
	}
	if state.Success() {
		return nil
	}
	e := &ExitError{Code: state.ExitCode()}
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		e.Signal = w.Signal()
	}
	return e
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended and its output was read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how it ended: nil for code 0, else usually an *ExitError. It is valid after Done.
func (p *Process) Err() error { return p.err }

// Stop ends the program with SIGTERM, after some seconds with SIGKILL, and waits for it.
func (p *Process) Stop() { p.StopWithin(stopGrace) }

// StopWithin is Stop with a grace of the caller's.
func (p *Process) StopWithin(grace time.Duration) {
	_ = p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Kill()
	}
}

// Kill ends the program at once and waits for it.
func (p *Process) Kill() {
	_ = p.signal(syscall.SIGKILL)
	<-p.done
}

// signal sends the program a signal, as the program's own user if this process may not. The right
// to signal every process (CAP_KILL) would be more than that needs.
func (p *Process) signal(s syscall.Signal) error {
	err := p.cmd.Process.Signal(s)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	sent := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		uid := uintptr(p.uid)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
			sent <- fmt.Errorf("becoming uid %d: %w", uid, errno)
			return
		}
		sent <- p.cmd.Process.Signal(s)
	}()
	return <-sent
}
