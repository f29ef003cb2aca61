package probe

import "time"

const (
	// looksInUse is how often the traffic is looked at in an interval while there is some.
	// looksIdle applies while there is none. So silence is noticed early, and an idle box stays
	// idle.
	looksInUse, looksIdle = 10, 4
	// rest is the number of intervals between two probes of an egress that needs no more.
	rest = 10
	// restLook is how many intervals pass between two looks at a stable egress by which nothing
	// left for restAfter intervals: to wake an idle processor costs more than the look (measured:
	// four times the processor time in all).
	restLook, restAfter = 2, 4
)

// due reports whether to send a probe. It depends on the present grade, the time since the last
// probe, and the traffic between the last two looks.
//
// While packets come in, a probe would find nothing new; while none leave, nobody waits for its
// result. So a stable egress is probed often only when packets were sent and none came back. The
// reason is not the two probes a second: OpenVPN 2.6 visits its TLS engine with every packet once
// it found one waiting there, and stops only after two seconds without any (tls_process in ssl.c,
// interval_test in interval.h). A packet every half second kept client and server in that state for
// good, which cost a quarter of their throughput (measured).
func due(grade Grade, interval, since time.Duration, before, now Traffic) bool {
	since += interval / looksInUse / 2 // a look may come a little later than its moment
	if grade == Stable && !(now.Sent > before.Sent && now.Received <= before.Received) {
		return since >= rest*interval
	}
	return since >= interval
}

// nextLook returns how long to wait before the next look at the traffic, by the present grade and
// the time since the last packet left.
func nextLook(grade Grade, interval, unused time.Duration) time.Duration {
	switch {
	case unused == 0:
		return interval / looksInUse
	case grade == Stable && unused >= restAfter*interval:
		return restLook * interval
	}
	return interval / looksIdle
}
