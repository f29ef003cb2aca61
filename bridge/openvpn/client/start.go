package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"ztbridge/bridge/openvpn/management"
	"ztbridge/bridge/openvpn/process"
	"ztbridge/bridge/openvpn/profile"
)

// startTimeout is how long openvpn may take from its start until it connects to our socket.
const startTimeout = 15 * time.Second

// runOnce starts openvpn, supervises it and returns why it ended. asked says that it was ended
// because somebody wanted a new one.
func (t *Tunnel) runOnce(ctx context.Context) (f failure, asked bool) {
	if reason := t.cfg.Profile.Expired(time.Now()); reason != "" {
		return datedBy(time.Now(), failure{state: StateCertExpired, cause: reason,
			remedy: remedyClock}), false
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
	t.startedWith = t.silence(target.remote)
	early := &earlyLog{}
	proc, socket, err := t.launcher.Start(process.Command{
		Args: t.arguments(target.remote),
		Config: t.cfg.Profile.TextFor(profile.Attempt{Remote: target.remote,
			Addr: target.addr, Proxy: target.proxy, ChaCha20: target.chacha20, Accepted: accepted}),
		Device: t.cfg.Device, Node: node,
		Output: early.add,
	})
	if errors.Is(err, process.ErrNotInstalled) {
		return failure{state: StateConfigError, cause: err.Error(),
			remedy: process.InstallRemedy}, false
	}
	if err != nil {
		return failure{state: StateConfigError, cause: err.Error(),
			remedy: "run: ztbridge doctor"}, false
	}
	defer socket.Close()
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
		return early.explain(&t.output, proc, err), false
	}
	early.close()
	r := &run{t: t, proc: proc, conn: conn, target: target,
		ifindex: interfaceIndex(t.cfg.Device), events: make(chan event),
		resolved: make(chan resolution, 1), timer: time.NewTimer(signalTimeout + stallTimeout)}
	return r.supervise(ctx)
}

// aim decides which server to try and resolves its name.
func (t *Tunnel) aim(ctx context.Context) (target, failure, bool) {
	if t.Status().State != StateReconnecting {
		t.enter(StateResolving)
	}
	server, remark, err := t.servers.target(ctx)
	if err != nil {
		t.upSince = time.Time{}
		return target{}, unresolved(err), false
	}
	if remark != nil {
		t.log.Warn("a server's name did not resolve", "error", remark)
	}
	return server, failure{}, true
}

// prepare makes what openvpn needs on this host.
func (t *Tunnel) prepare() (node string, err error) {
	if err := os.MkdirAll(t.cfg.StateDir, 0o700); err != nil {
		return "", fmt.Errorf("making the state directory: %w", err)
	}
	if err := t.launcher.Prepare(); err != nil {
		return "", err
	}
	return t.cfg.EnsureDevice()
}

// accept waits for the process to connect, as long as it lives.
func accept(ctx context.Context, socket *management.Listener,
	proc *process.Process) (*management.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
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

// explain returns why openvpn did not come as far as management, and keeps what it printed.
func (e *earlyLog) explain(kept *logBuffer, proc *process.Process, err error) failure {
	select {
	case <-proc.Done():
		err = proc.Err()
	default:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var lastFailure failure
	for _, line := range e.lines {
		kept.add(time.Now(), "", line)
		if f, ok := classify(line); ok {
			lastFailure = worse(lastFailure, f)
		}
	}
	if lastFailure.cause != "" {
		return lastFailure
	}
	var exit *process.ExitError
	if errors.As(err, &exit) && exit.Signal == 0 || errors.Is(err, exec.ErrNotFound) {
		return failure{state: StateConfigError,
			cause: fmt.Sprintf("openvpn ended at once: %v", err), remedy: remedyProfile}
	}
	return failure{state: StateBackoff, cause: fmt.Sprintf("openvpn did not start: %v", err)}
}
