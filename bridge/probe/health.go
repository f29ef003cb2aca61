package probe

import "time"

// Grade is how well an egress has answered its probes.
//
//	          hit         2 hits, and no outage or heavy loss for HoldDown (if it ever failed)
//	Unknown ───────▶ Fresh ────────────────────────────────────────────────▶ Stable
//	   │               ▲ │                                                     │
//	   │ 2 misses      │ │ 2 misses                                            │ 2 misses
//	   └───────▶ Degraded ◀────────────────────────────────────────────────────┘
//	                   (each relapse doubles HoldDown, up to holdDownMax)
type Grade uint8

// The grades, worst first, so that they compare.
const (
	Unknown  Grade = iota // not probed, or no answer was due yet
	Degraded              // two probes in a row went unanswered
	Fresh                 // answers, but not for long
	Stable                // has answered for the whole hold-down
)

func (g Grade) String() string {
	return [...]string{"unknown", "degraded", "fresh", "stable"}[g]
}

// Load is how much other traffic passed an egress while an answer was awaited.
type Load uint8

// The loads.
const (
	Idle  Load = iota // nothing, or little
	Busy              // so much that the answer may stand in a queue
	Alive             // packets came in that only this egress can have brought
)

const (
	// missesToDegrade is two: one lost packet is normal, two in a row are an outage.
	missesToDegrade = 2
	// busyTimeout is how long a busy egress may be silent. Modems have queues of two seconds and
	// more: while one fills up, answers are late or dropped.
	busyTimeout = 3 * time.Second
	// holdDownMax limits the doubling of the hold-down of an egress that fails again and again.
	holdDownMax = 5 * time.Minute
	// startHold is the hold-down of an egress that never failed.
	startHold = 2 * time.Second
	// relapse is how soon after a recovery another outage counts as the same fault.
	relapse = 5 * time.Minute
	// lossToHold is the share of lost probes above which an egress that answers is not Stable.
	lossToHold = 0.10
	// lossWeight is the weight of the newest probe in the moving average of losses: about the last
	// 20.
	lossWeight = 0.05
)

// Health grades one egress by the outcomes of its probes. It is pure. The zero grade is Unknown. It
// is not safe for concurrent use.
type Health struct {
	// HoldDown is how long an egress must answer before it is Stable.
	HoldDown time.Duration

	grade     Grade
	misses    int
	heard     time.Time // the last sign of life
	loss      float64
	holdDown  time.Duration
	cleanFrom time.Time // since when nothing spoke against Stable
	recovered time.Time
	failed    bool // a probe was lost after one was answered, or its connection ended
}

// Hit records an answered probe.
func (h *Health) Hit(now time.Time) {
	h.misses, h.heard = 0, now
	h.loss += lossWeight * (0 - h.loss)
	switch h.grade {
	case Unknown, Degraded:
		h.grade = Fresh
		h.recovered, h.cleanFrom = now, now
	case Fresh:
		if h.loss > lossToHold {
			h.cleanFrom = now
		}
		if now.Sub(h.cleanFrom) >= h.hold() {
			h.grade = Stable
		}
	case Stable:
	}
}

// Miss records an unanswered probe. A busy egress answers late and must not count as dead: that
// would cut off the clients that fill it. The load during the last miss counts, so that earlier
// traffic does not delay finding an outage.
func (h *Health) Miss(now time.Time, load Load) {
	h.misses++
	h.failed = h.failed || h.grade != Unknown
	h.loss += lossWeight * (1 - h.loss)
	switch {
	case h.misses < missesToDegrade, h.grade == Degraded:
		return
	case load == Alive && h.grade != Unknown:
		h.misses, h.heard = 0, now
		return
	case load != Idle && now.Sub(h.heard) < busyTimeout:
		return
	}
	if h.grade != Unknown && !h.recovered.IsZero() && now.Sub(h.recovered) < relapse {
		h.holdDown = min(2*h.hold(), max(holdDownMax, h.HoldDown))
	} else {
		h.holdDown = h.HoldDown
	}
	h.grade = Degraded
}

// Reset forgets the present grade, as after a new connection, and keeps the record of relapses.
func (h *Health) Reset() {
	h.failed = h.failed || h.grade >= Fresh
	h.grade, h.misses, h.loss, h.heard = Unknown, 0, 0, time.Time{}
}

// Grade returns the present grade.
func (h *Health) Grade() Grade { return h.grade }

// Loss returns the moving average of the share of probes lost, 0 to 1.
func (h *Health) Loss() float64 { return h.loss }

// hold returns how long the egress must answer to be Stable. It is less if the egress never failed,
// since a start is no recovery.
func (h *Health) hold() time.Duration {
	if !h.failed {
		return min(startHold, h.HoldDown)
	}
	return max(h.holdDown, h.HoldDown)
}
