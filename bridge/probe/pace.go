package probe

import "time"

const (
	// looksInUse and looksIdle are how many times in an interval the traffic is looked at: that
	// much of it passes at most before silence is noticed and a probe asks why. An idle box is not
	// kept awake for it.
	looksInUse, looksIdle = 10, 4
	// rest is how many intervals lie between two probes of an egress that gives no cause for more.
	rest = 10
)

// due reports whether it is time for a probe, by the present grade, how long ago the last probe
// was, and what passed between the last two looks.
//
// What a probe would find out is known already while packets come in, and nobody waits for it while
// none leave. So a stable egress is asked often only when something was sent and nothing came back.
// Its users would see two probes a second in their bill, but the reason is another: OpenVPN 2.6
// visits its TLS engine with every packet once it found one waiting there, and stops only after two
// seconds without any (tls_process in ssl.c, interval_test in interval.h). A packet every half
// second kept client and server in that state for good, which cost them a quarter of their
// throughput (measured).
func due(grade Grade, interval, since time.Duration, before, now Traffic) bool {
	if grade == Stable && !(now.Sent > before.Sent && now.Received <= before.Received) {
		return since >= rest*interval
	}
	return since >= interval
}

// nextLook says how long to wait before the traffic is looked at again, by what passed between the
// last two looks.
func nextLook(interval time.Duration, before, now Traffic) time.Duration {
	if now.Sent > before.Sent {
		return interval / looksInUse
	}
	return interval / looksIdle
}
