package systemd

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// While the daemon starts, systemd is asked to wait startTimeout after each pass, but no longer
// than startLimit in all: the installation of a package waits for the start, and must end.
const (
	startTimeout = time.Minute
	startLimit   = 5 * time.Minute
)

// Notifier tells systemd the state of a daemon (sd_notify(3)). Without systemd it does nothing. It
// belongs to one goroutine.
type Notifier struct {
	log      *slog.Logger
	interval time.Duration
	first    bool
	began    time.Time
	status   string // the last one that was sent
}

// New returns a notifier for a daemon that calls Alive at least once in each interval. The watchdog
// of the unit, if there is one, may ask for more.
func New(log *slog.Logger, interval time.Duration) *Notifier {
	n := &Notifier{log: log, interval: interval, first: true, began: time.Now()}
	if period, err := daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn("watchdog is misconfigured", "error", err)
	} else if period > 0 {
		n.interval = min(interval, period/2)
	}
	return n
}

// Interval returns how often Alive must be called.
func (n *Notifier) Interval() time.Duration { return n.interval }

// Alive tells systemd that a pass has returned. A failed pass counts too: a restart would end the
// tunnels and repair nothing. systemctl status shows failure. The daemon is ready once the filter
// is in force (filtered); until then systemd is asked to wait, for at most startLimit.
func (n *Notifier) Alive(filtered bool, failure error) {
	left := min(startTimeout, startLimit-time.Since(n.began))
	switch {
	case n.first && filtered:
		n.first = false
		n.Ready()
	case n.first && left > 0:
		n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", left.Microseconds()))
	}
	status := ""
	if failure != nil {
		status = strings.ReplaceAll(failure.Error(), "\n", "; ")
	}
	if status != n.status {
		n.send("STATUS=" + status)
		n.status = status
	}
	n.send(daemon.SdNotifyWatchdog)
}

// Ready tells systemd that the daemon runs, after its start or a reload.
func (n *Notifier) Ready() { n.send(daemon.SdNotifyReady) }

// Stopping tells systemd that the daemon is about to end.
func (n *Notifier) Stopping() { n.send(daemon.SdNotifyStopping) }

// Reloading tells systemd that a reload has begun; Ready ends it. The message must carry the
// monotonic clock (sd_notify(3), RELOADING=1).
func (n *Notifier) Reloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail for this clock
	n.send(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
}

// Restart returns what ends the daemon a moment later, by end, where systemd runs it and starts it
// again; else nil. Whoever asks for it may do so through a tunnel that ends with the daemon, and
// has the answer by then.
func Restart(end func()) func() {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	return func() { time.AfterFunc(answerTime, end) }
}

// answerTime is how long an answer may take to whoever asked for a restart.
const answerTime = time.Second

func (n *Notifier) send(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("notifying systemd failed", "error", err)
	}
}
