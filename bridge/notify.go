package bridge

import (
	"fmt"
	"log/slog"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// startPatience is how long systemd is asked to wait for the next pass while the daemon starts.
const startPatience = time.Minute

// notifier tells systemd how the daemon is (sd_notify(3)). Without systemd it does nothing.
type notifier struct {
	log *slog.Logger
	// interval is how often alive must be called for the watchdog; resync when there is none.
	interval time.Duration
	first    bool
}

func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log, interval: resync, first: true}
	if period, err := systemd.SdWatchdogEnabled(false); err != nil {
		log.Warn("watchdog is misconfigured", "error", err)
	} else if period > 0 {
		n.interval = period / 2
	}
	return n
}

// alive says that a pass returned, whether it succeeded or not: the loop lives, and a restart would end the tunnels
// and mend nothing. The daemon is ready once the filter is in force; until then systemd is asked to wait.
func (n *notifier) alive(filtered bool) {
	switch {
	case n.first && filtered:
		n.first = false
		n.ready()
	case n.first:
		n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", startPatience.Microseconds()))
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
