package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"ztbridge/bridge/openvpn/management"
	"ztbridge/bridge/openvpn/process"
)

const (
	// A listener that fails restarts after firstRetry, then after twice as long each time, up to
	// lastRetry. One that ran for stableAfter begins with firstRetry again.
	firstRetry  = time.Second
	lastRetry   = 30 * time.Second
	stableAfter = time.Minute
	// connectTimeout is how long openvpn may take from its start to the management socket.
	connectTimeout = 20 * time.Second
	// exitTimeout is how long openvpn may take to tell its UDP clients that it ends. Without a
	// limit it stays for two seconds, and admits clients that come back after one.
	exitTimeout = 500 * time.Millisecond

	// logRate and logBurst limit the lines of openvpn in the log, which any stranger can cause.
	logRate  = 5
	logBurst = 50
)

// listener keeps one openvpn process running.
type listener struct {
	Listener
	server     *Server
	log        *slog.Logger
	launcher   process.Launcher
	restarts   chan struct{} // requests a restart; capacity one
	logLimiter *rate.Limiter

	mu     sync.Mutex
	status ListenerStatus
	// index is that of the device the process has open; 0 when there is none.
	index int
	last  string // the last informative line that this openvpn printed
}

func newListener(l Listener, s *Server) *listener {
	log := s.log.With("listener", l.Name())
	return &listener{
		Listener: l, server: s, log: log, restarts: make(chan struct{}, 1),
		launcher: process.Launcher{Dir: filepath.Join(s.config.RuntimeDir, l.fileName()),
			Program: s.config.Program, UID: s.config.UID, GID: s.config.GID,
			Caps: []uintptr{unix.CAP_NET_BIND_SERVICE}, Log: log},
		logLimiter: rate.NewLimiter(logRate, logBurst),
		status:     ListenerStatus{Listener: l, State: StateStarting},
	}
}

// run runs openvpn until ctx ends, and restarts it when it ends.
func (l *listener) run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		began := time.Now()
		err := l.serve(ctx)
		l.server.sessions.drop(l.Name())
		if ctx.Err() != nil {
			return
		}
		if err == nil { // asked to restart
			l.set(StateStarting, "", 0)
			continue
		}
		if time.Since(began) > stableAfter {
			retry = firstRetry
		}
		l.log.Error("listener failed", "error", err, "retry_in", retry)
		l.fail(err)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(2*retry, lastRetry)
	}
}

// serve runs openvpn once. It returns nil when ctx ended or a restart was asked for.
func (l *listener) serve(ctx context.Context) error {
	select {
	case <-l.restarts: // this start serves earlier requests
	default:
	}
	devNode, err := l.server.config.EnsureDevice(l.Device)
	if err != nil {
		return &deviceError{l.Device, err}
	}
	if err := l.launcher.Prepare(); err != nil {
		return err
	}
	keys := l.server.currentKeys()
	if err := l.replaceCRL(keys.CRL); err != nil {
		return err
	}
	p, socket, err := l.start(keys, devNode)
	if err != nil {
		return err
	}
	defer socket.Close()
	defer p.Stop()
	return l.supervise(ctx, socket, p)
}

func (l *listener) start(keys Keys, devNode string) (*process.Process, *management.Listener,
	error) {
	index, err := deviceIndex(l.Device)
	if err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	l.last = "" // of another process
	l.mu.Unlock()
	p, socket, err := l.launcher.Start(process.Command{
		Args:   []string{"--management-client-auth"},
		Config: conf(l.Listener, keys, l.server.config.Web, machine(), l.launcher.Dir),
		Device: l.Device, Node: devNode, Output: l.logLine,
	})
	if err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	l.index = index
	l.mu.Unlock()
	l.set(StateStarting, "", p.PID())
	return p, socket, nil
}

// supervise serves the management connection until the process or ctx ends, or a restart is
// requested. In the latter two cases, which return nil, it ends the process, and lets it tell its
// clients first.
func (l *listener) supervise(ctx context.Context, socket *management.Listener,
	p *process.Process) error {
	// Without its management connection openvpn ends at once and does not tell its clients.
	connCtx, closeConn := context.WithCancel(context.WithoutCancel(ctx))
	defer closeConn()
	over := make(chan error, 1)
	go func() {
		over <- l.awaitEnd(ctx, connCtx, p)
		closeConn()
	}()
	err := l.acceptAndServe(connCtx, socket, p)
	if err != nil {
		closeConn()
	}
	if end := <-over; !errors.Is(end, errConnFailed) {
		return end
	}
	return err
}

// errConnFailed reports that the connection failed while the process and ctx go on.
var errConnFailed = errors.New("the management connection failed")

func (l *listener) awaitEnd(ctx, connCtx context.Context, p *process.Process) error {
	select {
	case <-p.Done():
		return l.exitReason(p)
	case <-connCtx.Done():
		return errConnFailed
	case <-ctx.Done():
	case <-l.restarts:
	}
	p.StopWithin(exitTimeout)
	return nil
}

// acceptAndServe accepts the process's connection and serves it until it or ctx ends.
func (l *listener) acceptAndServe(ctx context.Context, socket *management.Listener,
	p *process.Process) error {
	acceptCtx, cancel := context.WithTimeoutCause(ctx, connectTimeout,
		errors.New("openvpn does not come up"))
	defer cancel()
	conn, err := socket.Accept(acceptCtx, p.PID())
	if err != nil {
		return err
	}
	return l.serveConn(ctx, conn, p)
}

// serveConn serves a connection until it or ctx ends.
func (l *listener) serveConn(ctx context.Context, conn *management.Conn, p *process.Process) error {
	a := &authorizer{
		listener: l.Listener, server: l.server, conn: conn, log: l.log, events: newEventQueue(),
		up: func() {
			l.log.Info("listening")
			l.set(StateListening, "", p.PID())
		},
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	working, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { a.run(working) })
	if l.Proto == "tcp" {
		wg.Go(func() { a.limitPending(working) })
	}
	return conn.Serve(ctx, a.middlewares()...)
}

// exitReason returns how the process ended, with the last line that it printed, if any.
func (l *listener) exitReason(p *process.Process) error {
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	switch {
	case last != "" && p.Err() != nil:
		return fmt.Errorf("openvpn ended: %s (%w)", last, p.Err())
	case p.Err() != nil:
		return fmt.Errorf("openvpn ended: %w", p.Err())
	default:
		return errors.New("openvpn ended")
	}
}

// uninformative lists lines that follow the one with the reason for an exit.
var uninformative = []string{"Exiting due to fatal error", "Options error: Please correct",
	"Use --help"}

// logLine handles a line that openvpn printed.
func (l *listener) logLine(line string) {
	if !slices.ContainsFunc(uninformative,
		func(p string) bool { return strings.HasPrefix(line, p) }) {
		l.mu.Lock()
		l.last = line
		l.mu.Unlock()
	}
	if l.logLimiter.Allow() {
		l.log.Debug("openvpn", "line", printable(line, 300))
	}
}

// restart requests a new process. It does not block.
func (l *listener) restart() {
	select {
	case l.restarts <- struct{}{}:
	default:
	}
}

// checkDevice restarts a process whose device was deleted: openvpn does not notice and uses a
// whole core.
func (l *listener) checkDevice() {
	l.mu.Lock()
	want := l.index
	l.mu.Unlock()
	if want == 0 {
		return
	}
	if now, err := deviceIndex(l.Device); err == nil && now == want {
		return
	}
	l.mu.Lock()
	l.index = 0
	l.mu.Unlock()
	l.log.Warn("device was deleted", "device", l.Device)
	l.restart()
}

func deviceIndex(name string) (int, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("looking for %s: %w", name, err)
	}
	return i.Index, nil
}

// writeCRL replaces the revocation list of the running process, which reads it at the next
// connection.
func (l *listener) writeCRL(crl string) {
	if err := l.replaceCRL(crl); err != nil {
		l.log.Error("replacing the revocation list", "error", err)
		l.restart() // it is written again before the start
	}
}

// replaceCRL writes the revocation list, readable by openvpn and root only.
func (l *listener) replaceCRL(crl string) error {
	f, err := renameio.NewPendingFile(l.launcher.Path("crl.pem"),
		renameio.WithTempDir(l.launcher.Dir), renameio.WithStaticPermissions(0o640))
	if err != nil {
		return fmt.Errorf("writing the revocation list: %w", err)
	}
	_, err = f.WriteString(crl)
	if err = errors.Join(err, f.Chown(-1, l.server.config.GID)); err == nil {
		err = f.CloseAtomicallyReplace()
	}
	if err = errors.Join(err, f.Cleanup()); err != nil {
		return fmt.Errorf("writing the revocation list: %w", err)
	}
	return nil
}

func (l *listener) set(state State, cause string, pid int) {
	l.mu.Lock()
	changed := l.status.State != state || l.status.Cause != cause
	l.status.State, l.status.Cause, l.status.PID = state, cause, pid
	if pid == 0 {
		l.index = 0
	}
	l.mu.Unlock()
	if changed {
		l.server.notify()
	}
}

// fail publishes why the listener does not listen and what to do about it.
func (l *listener) fail(err error) {
	l.mu.Lock()
	l.status.Remedy = remedy(l.Listener, err)
	l.mu.Unlock()
	l.set(StateFailed, err.Error(), 0)
}

func (l *listener) snapshot() ListenerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}
