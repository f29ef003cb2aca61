package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/process"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/bridge/tun"
	"ztbridge/policyroute"
)

// tryTimeout is how long a profile that is tried may take to connect.
const tryTimeout = 45 * time.Second

const (
	// trialPrefix begins the name of a trial's device; the id of its process follows.
	trialPrefix = policyroute.TunPrefix + "t"
	// trialDir begins the path of a trial's directory; the id of its process and "-" follow.
	trialDir = "/run/ztbridge-try-"
)

// trialRuns reports whether a device is that of a trial whose process lives. A daemon that runs
// beside it leaves it alone.
func trialRuns(device string) bool {
	number, found := strings.CutPrefix(device, trialPrefix)
	pid, err := strconv.Atoi(number)
	return found && err == nil && pid > 0 && lives(pid)
}

// lives reports whether there is such a process. It may be another user's, whose entry in /proc the
// daemon does not see.
func lives(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// Trial is the result of trying a profile.
type Trial struct {
	Server  string // "udp 203.0.113.5:1194"
	Took    time.Duration
	Session *client.Session
	Checks  []TrialCheck
}

// TrialCheck is one packet exchange through the tunnel.
type TrialCheck struct {
	Name   string // echo, DNS or TCP
	Target string
	Took   time.Duration
	Err    error // nil: it was answered
}

// removeTrials removes the directories and devices of processes that were killed in a trial.
func removeTrials() {
	ended := func(number string) bool {
		pid, err := strconv.Atoi(number)
		return err == nil && pid > 0 && !lives(pid)
	}
	dirs, _ := filepath.Glob(trialDir + "*-*") // the pattern is well formed
	for _, dir := range dirs {
		if number, _, _ := strings.Cut(strings.TrimPrefix(dir, trialDir), "-"); ended(number) {
			_ = os.RemoveAll(dir) // the next trial tries again
		}
	}
	links, _ := net.Interfaces() // a daemon removes such devices, too
	for _, l := range links {
		if number, found := strings.CutPrefix(l.Name, trialPrefix); found && ended(number) {
			_ = tun.Remove(l.Name)
		}
	}
}

// Try connects a profile and exchanges packets through it in a network namespace of its own. It
// changes no route, address or rule of this host, and leaves nothing behind. credentials may be
// nil. progress hears each state of the tunnel. It blocks, for up to a minute.
func Try(ctx context.Context, p *profile.Profile, credentials *config.Credentials,
	log *slog.Logger, progress func(client.Status)) (*Trial, error) {
	user, err := LookupUser()
	if err != nil {
		return nil, err
	}
	removeTrials()
	dir, err := os.MkdirTemp(filepath.Dir(trialDir),
		fmt.Sprintf("%s%d-", filepath.Base(trialDir), os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	nodes, runtime := filepath.Join(dir, "dev"), filepath.Join(dir, "run")
	// openvpn's user passes through them, whatever this program's umask.
	if err := errors.Join(os.Mkdir(nodes, 0o711), os.Mkdir(runtime, 0o711), os.Chmod(dir, 0o711),
		os.Chmod(nodes, 0o711), os.Chmod(runtime, 0o711)); err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	device := fmt.Sprintf("%s%d", trialPrefix, os.Getpid())
	defer func() { _ = tun.Remove(device) }() // it went with its namespace, or was never made
	changed := make(chan struct{}, 1)
	t, err := client.New(client.Config{
		Name: "try", Profile: p, Credentials: clientCredentials(credentials),
		Device: device, DeviceMoves: true,
		EnsureDevice: func() (string, error) {
			if err := tun.Ensure(device, user.uid, process.DeviceGroup(device)); err != nil {
				return "", err
			}
			return tun.Node(nodes, user.uid)
		},
		UID: user.uid, GID: user.gid, RuntimeDir: runtime, StateDir: dir,
		Log: log,
		Notify: func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- t.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			log.Error("ending the tunnel", "error", err)
		}
	}()
	begin := time.Now()
	status, err := awaitUp(ctx, t, changed, progress)
	if err != nil {
		return nil, err
	}
	out := &Trial{Server: status.Place(),
		Took: time.Since(begin), Session: status.Session}
	out.Checks, err = checkThrough(ctx, device, status.Session)
	return out, err
}

// awaitUp waits until the tunnel is up. The error says why it is not, with a remedy.
func awaitUp(ctx context.Context, t *client.Tunnel, changed <-chan struct{},
	progress func(client.Status)) (client.Status, error) {
	limit := time.NewTimer(tryTimeout)
	defer limit.Stop()
	for {
		s := t.Status()
		progress(s)
		switch s.State {
		case client.StateUp:
			return s, nil
		case client.StateAuthFailed, client.StateCertExpired, client.StateConfigError,
			client.StatePushRefused:
			return s, trialError(s)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s, ctx.Err()
		case <-limit.C:
			return s, trialError(s)
		}
	}
}

func trialError(s client.Status) error {
	cause := cmp.Or(s.Cause, "the server does not answer")
	return &api.HintedError{Err: errors.New(cause), Hint: s.Remedy}
}

func clientCredentials(c *config.Credentials) *profile.Credentials {
	if c == nil {
		return nil
	}
	return &profile.Credentials{Username: c.Username.Reveal(), Password: c.Password.Reveal(),
		KeyPassphrase: c.KeyPassphrase.Reveal()}
}

// checkThrough moves the device into a new namespace and exchanges packets there.
func checkThrough(ctx context.Context, device string, s *client.Session) ([]TrialCheck, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	defer ns.close()
	if err := ns.adopt(device, s); err != nil {
		return nil, err
	}
	targets := config.DefaultTargets()
	resolvers := s.DNS
	if len(resolvers) == 0 {
		resolvers = targets
	}
	var checks []func() TrialCheck
	add := func(name string, target netip.Addr, exchange func(netip.Addr, time.Time) error) {
		checks = append(checks, func() TrialCheck { return ns.check(ctx, name, target, exchange) })
	}
	for _, family := range []bool{true, false} {
		if family && !s.IPv4() || !family && !s.IPv6() {
			continue
		}
		is := func(a netip.Addr) bool { return a.Is4() == family }
		add("echo", first(targets, is), echo)
		if resolver := first(resolvers, is); resolver.IsValid() {
			add("DNS", resolver, askDNS)
		}
		add("TCP", first(targets, is), handshake)
	}
	out := make([]TrialCheck, len(checks))
	var all sync.WaitGroup
	for i, check := range checks { // side by side: one that fails takes nine seconds
		all.Go(func() { out[i] = check() })
	}
	all.Wait()
	return out, nil
}

// first returns the first address of a kind, or the zero value.
func first(list []netip.Addr, fits func(netip.Addr) bool) netip.Addr {
	for _, a := range list {
		if fits(a) {
			return a
		}
	}
	return netip.Addr{}
}
