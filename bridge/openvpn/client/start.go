package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/openvpn/management"
	"ztbridge/bridge/openvpn/process"
)

// greeting is how long openvpn may take from its start until it connects to our socket.
const greeting = 15 * time.Second

// runOnce starts openvpn, supervises it and returns why it ended. asked says that it was ended
// because somebody wanted a new one.
func (t *Tunnel) runOnce(ctx context.Context) (f failure, asked bool) {
	if reason := t.cfg.Profile.Expired(time.Now()); reason != "" {
		return failure{state: StateCertExpired, cause: reason, remedy: remedyClock}, false
	}
	node, err := t.prepare()
	if err != nil {
		return failure{state: StateConfigError, cause: err.Error(), remedy: "run: ztbridge doctor"},
			false
	}
	target, f, ok := t.aim(ctx)
	if !ok {
		return f, false
	}
	socket, err := management.Listen(t.socketPath(), t.cfg.UID, t.cfg.GID, t.log)
	if err != nil {
		return failure{state: StateConfigError, cause: err.Error()}, false
	}
	defer socket.Close()
	early := &earlyLog{}
	proc, err := t.spawn(node, target, early)
	if err != nil {
		return failure{state: StateConfigError, cause: err.Error(), remedy: "install openvpn 2.6"},
			false
	}
	defer func() {
		if ctx.Err() != nil {
			proc.Stop() // politely: the server is told (explicit-exit-notify)
		} else {
			proc.Kill()
		}
		t.change(func(s *Status) { s.PID = 0 })
	}()
	t.bytesIn.Store(0)
	t.bytesOut.Store(0)
	t.change(func(s *Status) { s.PID = proc.PID() })
	conn, err := accept(ctx, socket, proc)
	if err != nil {
		return early.explain(&t.ring, proc, err), false
	}
	early.close()
	r := newRun(t, proc, conn, target)
	return r.supervise(ctx)
}

// aim decides which server to try and resolves its name.
func (t *Tunnel) aim(ctx context.Context) (target, failure, bool) {
	if t.Status().State != StateReconnecting {
		t.enter(StateResolving)
	}
	server, remark, err := t.course.target(ctx)
	if err != nil {
		t.upSince = time.Time{}
		return target{}, unresolved(err), false
	}
	if remark != nil {
		t.log.Warn("a server's name did not resolve", "error", remark)
	}
	return server, failure{}, true
}

func unresolved(err error) failure {
	return failure{state: StateDNSFailed, cause: err.Error(),
		remedy: "check this box's own name resolution"}
}

// prepare makes what openvpn needs on this host, and ends one that an earlier run left behind.
func (t *Tunnel) prepare() (node string, err error) {
	if err := os.MkdirAll(t.cfg.StateDir, 0o700); err != nil {
		return "", fmt.Errorf("making the state directory: %w", err)
	}
	if err := management.PrivateDir(t.dir(), t.cfg.GID); err != nil {
		return "", fmt.Errorf("making the runtime directory: %w", err)
	}
	if err := management.OwnDir(t.tmpPath(), t.cfg.UID, t.cfg.GID); err != nil {
		return "", fmt.Errorf("making openvpn's temporary directory: %w", err)
	}
	if err := searchable(filepath.Dir(t.dir()), t.cfg.UID); err != nil {
		return "", err
	}
	ended, err := process.EndStale(t.pidPath(), t.socketPath())
	if err != nil {
		return "", err
	}
	if ended {
		t.log.Warn("ended the openvpn that an earlier run left behind")
	}
	return t.cfg.EnsureDevice()
}

// searchable checks that a user without privileges can pass through dir and all above it.
func searchable(dir string, uid int) error {
	if uid == 0 {
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return fmt.Errorf("looking at %s: %w", dir, err)
		}
		if st.Mode&0o001 == 0 && !(int(st.Uid) == uid && st.Mode&0o100 != 0) {
			return fmt.Errorf(
				"the directory %s cannot be passed by uid %d, whom openvpn runs as (chmod o+x)",
				dir, uid)
		}
	}
	return nil
}

func (t *Tunnel) spawn(node string, server target, early *earlyLog) (*process.Process, error) {
	program, err := t.program()
	if err != nil {
		return nil, fmt.Errorf("looking for openvpn: %w", errors.Unwrap(err))
	}
	return process.Start(process.Spec{
		Path:    program,
		Args:    t.arguments(node, server.remote.Proto),
		Stdin:   t.cfg.Profile.TextFor(server.addr, server.remote),
		UID:     t.cfg.UID,
		GID:     t.cfg.GID,
		PIDFile: t.pidPath(),
		Output:  early.add,
	})
}

// accept waits for the process to connect, as long as it lives.
func accept(ctx context.Context, socket *management.Listener,
	proc *process.Process) (*management.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, greeting)
	defer cancel()
	go func() {
		select {
		case <-proc.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return socket.Accept(ctx, proc.PID())
}

// earlyLog takes what openvpn prints until it is connected to management, which says it all again
// and better.
type earlyLog struct {
	mu     sync.Mutex
	closed bool
	lines  []string
}

// earlyLines is how much of it is kept.
const earlyLines = 50

func (e *earlyLog) add(line string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed && len(e.lines) < earlyLines {
		e.lines = append(e.lines, line)
	}
}

func (e *earlyLog) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed, e.lines = true, nil
}

// explain says why openvpn did not come as far as management, and keeps what it printed.
func (e *earlyLog) explain(kept *ring, proc *process.Process, err error) failure {
	select {
	case <-proc.Done():
		err = proc.Err()
	default:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var blame failure
	for _, line := range e.lines {
		kept.add(time.Now(), "", line)
		if f, ok := classify(line); ok {
			blame = heavier(blame, f)
		}
	}
	if blame.cause != "" {
		return blame
	}
	var exit *process.ExitError
	if errors.As(err, &exit) && exit.Signal == 0 || errors.Is(err, exec.ErrNotFound) {
		return failure{state: StateConfigError,
			cause: fmt.Sprintf("openvpn ended at once: %v", err), remedy: remedyProfile}
	}
	return failure{state: StateBackoff, cause: fmt.Sprintf("openvpn did not start: %v", err)}
}
