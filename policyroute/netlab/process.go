package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	logLimit  = 256 << 10       // bytes of output kept for each process
	stopGrace = 5 * time.Second // between SIGTERM and SIGKILL
)

// Process is a program that runs in a namespace, in a process group of its own. It is killed when
// the namespace is closed, and by the kernel when the process that made the lab dies.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  *tail
	done chan struct{}
	err  error // of Wait; valid after done
}

// Command prepares a program; give it to Start or Run.
func Command(name string, args ...string) *exec.Cmd {
	return exec.Command(name, args...)
}

// Start runs cmd in the namespace and returns at once. Stdout and Stderr that are nil go to the
// process's log. cmd must not be used by the caller afterwards.
func (n *Namespace) Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: n.Label + "/" + cmd.Args[0], cmd: cmd, log: newTail(logLimit),
		done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.log
	}
	// A grandchild that inherited the output must not hold up Wait.
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := n.onOwner(func() error {
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("starting %s in %s: %w", cmd.Args[0], n.Label, err)
		}
		n.processes = append(n.processes, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Run executes a program to its end and returns its standard output. The error of a program that
// failed holds its output.
func (n *Namespace) Run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	p, err := n.Start(cmd)
	if err != nil {
		return "", err
	}
	defer n.forget(p)
	err = p.Wait(ctx)
	if ctx.Err() != nil {
		p.Kill()
	}
	if err != nil {
		return out.String(), fmt.Errorf("running %s %s in %s: %w: %s", name,
			strings.Join(args, " "), n.Label, err,
			strings.TrimSpace(out.String()+p.Log()))
	}
	return out.String(), nil
}

func (n *Namespace) forget(p *Process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.processes = slices.DeleteFunc(n.processes, func(q *Process) bool { return q == p })
}

// Processes returns the programs that were started and not run to their end by Run, the ended ones
// included.
func (n *Namespace) Processes() []*Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*Process(nil), n.processes...)
}

// Outcome says in words whether the process runs or how it ended.
func (p *Process) Outcome() string {
	switch {
	case p.Running():
		return fmt.Sprintf("pid %d, running", p.Pid())
	case p.err != nil:
		return p.err.Error()
	default:
		return "ended"
	}
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log returns the end of what the process wrote.
func (p *Process) Log() string { return p.log.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the end of the process and returns its outcome, as exec.Cmd.Wait does.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s: %w", p.Name, ctx.Err())
	}
}

// Signal sends a signal to the process alone, not to its group. A process that has ended is no
// error.
func (p *Process) Signal(sig os.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Stop asks the process group to end and kills it after a grace of five seconds. It returns when
// the process has ended.
func (p *Process) Stop() {
	if !p.Running() {
		return
	}
	_ = syscall.Kill(-p.Pid(), syscall.SIGTERM)
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Kill()
	}
}

// Kill kills the process group and returns when the process has ended.
func (p *Process) Kill() {
	if !p.Running() {
		return
	}
	_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
	<-p.done
}

// KillAlone kills the process but not its children, as the kernel's OOM killer would, and returns
// when it has ended.
func (p *Process) KillAlone() {
	_ = p.Signal(syscall.SIGKILL)
	<-p.done
}

// tail keeps the end of what is written to it.
type tail struct {
	mu    sync.Mutex
	limit int
	buf   []byte
	cut   bool
}

func newTail(limit int) *tail { return &tail{limit: limit} }

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	// Cut seldom, at twice the limit, so that a chatty program costs no copy for each line.
	if len(t.buf) > 2*t.limit {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.limit:]...)
		t.cut = true
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		return "[…]" + string(t.buf)
	}
	return string(t.buf)
}
