package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
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
	// A listener that fails is tried again after firstRetry, then after twice as long each time, up
	// to lastRetry. One that worked for steady begins anew.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	steady     = time.Minute
	// connectPatience is how long openvpn may take from its start to the management socket.
	connectPatience = 20 * time.Second
	// farewell is how long openvpn may take to tell its clients by UDP that it ends. By itself it
	// would stay for two seconds and answer those that return after one, to be gone a second later
	// without a word.
	farewell = 500 * time.Millisecond

	// Lines of openvpn's that are passed on to the log: strangers can make it print without end.
	logRate  = 5
	logBurst = 50
)

// listener keeps one openvpn process running.
type listener struct {
	Listener
	server *Server
	log    *slog.Logger
	again  chan struct{} // asks for a restart; capacity one
	chatty *rate.Limiter

	mu     sync.Mutex
	status ListenerStatus
	// index is that of the device the process has open; 0 when there is none.
	index int
	last  string // the last line that openvpn printed
}

func newListener(l Listener, s *Server) *listener {
	return &listener{
		Listener: l, server: s, log: s.log.With("listener", l.Name()), again: make(chan struct{},
			1),
		chatty: rate.NewLimiter(logRate, logBurst),
		status: ListenerStatus{Listener: l, State: StateStarting, Since: time.Now()},
	}
}

// run starts openvpn again and again until ctx ends.
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
		if time.Since(began) > steady {
			retry = firstRetry
		}
		l.log.Error("listener failed", "error", err, "retry_in", retry)
		l.set(StateFailed, err.Error(), 0)
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
	case <-l.again: // what asked for it is served by this start
	default:
	}
	devNode, err := l.server.config.EnsureDevice(l.Device)
	if err != nil {
		return fmt.Errorf("preparing %s: %w", l.Device, err)
	}
	c := l.server.config
	if err := management.PrivateDir(l.dir(), c.GID); err != nil {
		return fmt.Errorf("making %s: %w", l.dir(), err)
	}
	if err := ownDir(l.path("tmp"), c.UID, c.GID); err != nil {
		return err
	}
	keys := l.server.currentKeys()
	if err := l.replaceCRL(keys.CRL); err != nil {
		return err
	}
	if _, err := process.EndStale(l.path("pid"), l.path("socket")); err != nil {
		return err
	}
	socket, err := management.Listen(l.path("socket"), c.UID, c.GID, l.log)
	if err != nil {
		return err
	}
	defer socket.Close()
	p, err := l.start(keys, devNode)
	if err != nil {
		return err
	}
	defer p.Stop()
	return l.follow(ctx, socket, p)
}

func (l *listener) start(keys Keys, devNode string) (*process.Process, error) {
	c := l.server.config
	program, err := exec.LookPath(c.Program)
	if err != nil {
		return nil, fmt.Errorf("looking for openvpn: %w", err)
	}
	index, err := deviceIndex(l.Device)
	if err != nil {
		return nil, err
	}
	text := conf(l.Listener, keys, c.Web, hasIPv6(), l.dir())
	p, err := process.Start(process.Spec{
		Path: program,
		Args: []string{
			"--config", "stdin", "--dev-node", devNode,
			"--management", l.path(
				"socket"), "unix", "--management-client", "--management-client-auth",
			"--management-hold",
		},
		Stdin: text, UID: c.UID, GID: c.GID, Caps: []uintptr{unix.CAP_NET_BIND_SERVICE},
		PIDFile: l.path("pid"), Output: l.print,
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.index = index
	l.mu.Unlock()
	l.set(StateStarting, "", p.PID())
	return p, nil
}

// follow serves the management connection until the process or ctx ends, or a restart is asked for.
// In the latter two cases, which return nil, it ends the process, and lets it tell its clients
// first.
func (l *listener) follow(ctx context.Context, socket *management.Listener,
	p *process.Process) error {
	// Without its management connection openvpn ends at once, and tells nobody.
	talking, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	over := make(chan error, 1)
	go func() {
		over <- l.awaitEnd(ctx, talking, p)
		hangUp()
	}()
	err := l.talk(talking, socket, p)
	if err != nil {
		hangUp()
	}
	if end := <-over; !errors.Is(end, errHungUp) {
		return end
	}
	return err
}

// errHungUp says that the connection failed, and the process and ctx have not ended.
var errHungUp = errors.New("the management connection failed")

func (l *listener) awaitEnd(ctx, talking context.Context, p *process.Process) error {
	select {
	case <-p.Done():
		return l.why(p)
	case <-talking.Done():
		return errHungUp
	case <-ctx.Done():
	case <-l.again:
	}
	p.StopWithin(farewell)
	return nil
}

// talk accepts the process's connection and serves it until it or ctx ends.
func (l *listener) talk(ctx context.Context, socket *management.Listener,
	p *process.Process) error {
	waiting, stopWaiting := context.WithTimeoutCause(ctx, connectPatience,
		errors.New("openvpn does not come up"))
	defer stopWaiting()
	conn, err := socket.Accept(waiting, p.PID())
	if err != nil {
		return err
	}
	return l.open(ctx, conn, p)
}

// open serves a connection until it or ctx ends.
func (l *listener) open(ctx context.Context, conn *management.Conn, p *process.Process) error {
	d := &door{listener: l.Listener, server: l.server, conn: conn, log: l.log, inbox: newInbox(),
		up: func() {
			l.log.Info("listening")
			l.set(StateListening, "", p.PID())
		}}
	working, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.run(working)
	}()
	defer func() {
		stop()
		<-done
	}()
	return conn.Serve(ctx, d.middlewares()...)
}

// why says how the process ended, in its own words where it left any.
func (l *listener) why(p *process.Process) error {
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

// uninformative lines follow the one that says why openvpn ends.
var uninformative = []string{"Exiting due to fatal error", "Options error: Please correct",
	"Use --help"}

// print takes a line of openvpn's.
func (l *listener) print(line string) {
	if !slices.ContainsFunc(uninformative,
		func(p string) bool { return strings.HasPrefix(line, p) }) {
		l.mu.Lock()
		l.last = line
		l.mu.Unlock()
	}
	if l.chatty.Allow() {
		l.log.Debug("openvpn", "line", printable(line, 300))
	}
}

// restart asks for a new process. It does not wait.
func (l *listener) restart() {
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// checkDevice restarts a process whose device was deleted: openvpn would not notice, but spin.
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
	l.log.Warn("device is gone", "device", l.Device)
	l.restart()
}

func deviceIndex(name string) (int, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("looking for %s: %w", name, err)
	}
	return i.Index, nil
}

// hasIPv6 says whether the kernel has IPv6: without it an IPv6 socket cannot be made.
func hasIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
}

func (l *listener) dir() string {
	return filepath.Join(l.server.config.RuntimeDir, l.fileName())
}

func (l *listener) path(name string) string { return filepath.Join(l.dir(), name) }

// writeCRL brings a new revocation list to the running process, which reads it at the next
// connection.
func (l *listener) writeCRL(crl string) {
	if err := l.replaceCRL(crl); err != nil {
		l.log.Error("replacing the revocation list", "error", err)
		l.restart() // it is written again before the start
	}
}

// ownDir makes a directory for openvpn's own files: it insists on one, though it writes none here.
func ownDir(path string, uid, gid int) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making a directory for openvpn: %w", err)
	}
	if err := os.Lchown(path, uid, gid); err != nil {
		return fmt.Errorf("giving a directory to openvpn: %w", err)
	}
	return nil
}

// replaceCRL writes the revocation list where openvpn may read it and nobody else.
func (l *listener) replaceCRL(crl string) error {
	f, err := renameio.NewPendingFile(l.path("crl.pem"), renameio.WithTempDir(l.dir()),
		renameio.WithStaticPermissions(0o640))
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
	if changed {
		l.status.Since = time.Now()
	}
	l.status.State, l.status.Cause, l.status.PID = state, cause, pid
	if pid == 0 {
		l.index = 0
	}
	l.mu.Unlock()
	if changed {
		l.server.notify()
	}
}

func (l *listener) snapshot() ListenerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}
