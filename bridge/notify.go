package bridge

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// While the daemon starts, systemd is asked to wait for startPatience after each pass, but not
// longer than startLimit in all: whoever waits for the start, as the installation of a package
// does, has to hear of a failure some day.
const (
	startTimeout = time.Minute
	startLimit   = 5 * time.Minute
)

// notifier tells systemd how the daemon is (sd_notify(3)). Without systemd it does nothing.
type notifier struct {
	log *slog.Logger
	// interval is how often alive must be called for the watchdog; resync when there is none.
	interval time.Duration
	first    bool
	began    time.Time
	status   string // the last one that was sent
}

func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log, interval: resync, first: true, began: time.Now()}
	if period, err := systemd.SdWatchdogEnabled(false); err != nil {
		log.Warn("watchdog is misconfigured", "error", err)
	} else if period > 0 {
		n.interval = period / 2
	}
	return n
}

// alive reports whether a pass returned, whether it succeeded or not: the loop lives, and a restart
// would end the tunnels and repair nothing. The daemon is ready once the filter is in force; until
// then systemd is asked to wait, for a while. What the pass failed of is what systemctl shows.
func (n *notifier) alive(filtered bool, failure error) {
	left := min(startTimeout, startLimit-time.Since(n.began))
	switch {
	case n.first && filtered:
		n.first = false
		n.ready()
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
	n.send(systemd.SdNotifyWatchdog)
}

func (n *notifier) ready()    { n.send(systemd.SdNotifyReady) }
func (n *notifier) stopping() { n.send(systemd.SdNotifyStopping) }

// reloading must carry the monotonic clock (sd_notify(3), RELOADING=1).
func (n *notifier) reloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail for this clock
	n.send(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", systemd.SdNotifyReloading, now.Nano()/1000))
}

func (n *notifier) send(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		n.log.Warn("notifying systemd failed", "error", err)
	}
}
