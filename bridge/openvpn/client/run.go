package client

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"ztbridge/bridge/openvpn/management"
	"ztbridge/bridge/openvpn/process"
)

const (
	// stall is how long a connection attempt may rest in one of openvpn's states. That no server
	// answers at all is noticed earlier, by connect-timeout.
	stall = 15 * time.Second
	// brief is how long a server may be silent when others could serve clients that wait: time for
	// the first packet, for one more if it was lost, and for the answer.
	brief = 1500 * time.Millisecond
	// obedience is how long openvpn may take from SIGUSR1 to its hold.
	obedience = 2 * time.Second
	// deviceInterval is how often the TUN device is looked at: without it openvpn spins.
	deviceInterval = 500 * time.Millisecond
	// young is how long after coming up a wish to reconnect speaks against the server.
	young = 30 * time.Second
)

// phase is what one openvpn process is doing.
//
//	starting ─▶ resolving ─▶ trying ─▶ connected
//	               ▲  │         │          │
//	     timer, ask│  ▼         ▼          ▼
//	            holding ◀─── HOLD ◀──── leaving (SIGUSR1 sent)
type phase int

const (
	starting  phase = iota // connected to management, not yet in its first hold
	holding                // in hold, waiting for the timer
	resolving              // in hold, waiting for an address
	trying                 // released
	connected              // up
	leaving                // told to reconnect; waiting for its hold
)

// run supervises one openvpn process. All but the middlewares belongs to the goroutine of
// supervise.
type run struct {
	t       *Tunnel
	proc    *process.Process
	conn    *management.Conn
	ifindex int

	ctx      context.Context // of the process
	events   chan event
	resolved chan resolution
	helpers  sync.WaitGroup

	phase  phase
	timer  *time.Timer // of the phase
	target target      // the server that the process was started with
	blame  failure     // the heaviest that openvpn's log tells of this attempt
	blamed time.Time   // when it last told something
	greets bool        // the server has answered in this attempt
	asked  bool        // the next hold was asked for: no failure
	// of the last UPDOWN:UP; openvpn does not repeat it when nothing changed
	env  map[string]string
	held bool // was in hold before
}

type resolution struct {
	target target
	remark error
	err    error
}

// verdict ends a run.
type verdict struct {
	failure failure
	asked   bool
}

func newRun(t *Tunnel, proc *process.Process, conn *management.Conn, server target) *run {
	return &run{
		t: t, proc: proc, conn: conn, target: server,
		ifindex:  interfaceIndex(t.cfg.Device),
		events:   make(chan event),
		resolved: make(chan resolution, 1),
		timer:    time.NewTimer(obedience + stall),
	}
}

// supervise serves management and handles its events until the process, ctx, or patience ends.
func (r *run) supervise(ctx context.Context) (failure, bool) {
	ctx, cancel := context.WithCancel(ctx)
	r.ctx = ctx
	defer r.helpers.Wait()
	defer cancel()
	defer r.timer.Stop()
	served := make(chan struct{})
	r.helpers.Go(func() {
		defer close(served)
		err := r.conn.Serve(ctx, middlewares(r.post, r.logLine, &r.t.bytesIn, &r.t.bytesOut)...)
		if err != nil && ctx.Err() == nil {
			r.t.log.Warn("management ended", "error", err)
		}
	})
	watch := time.NewTicker(deviceInterval)
	defer watch.Stop()
	for {
		var v *verdict
		select {
		case <-ctx.Done():
			return failure{}, false
		case <-served: // the process follows; if it does not, it is killed
			return r.ended(served), false
		case <-r.proc.Done():
			return r.ended(served), false
		case e := <-r.events:
			v = r.handle(e)
		case res := <-r.resolved:
			v = r.release(res)
		case <-r.timer.C:
			v = r.expire()
		case q := <-r.t.requests:
			v = r.request(q)
		case <-watch.C:
			if interfaceIndex(r.t.cfg.Device) != r.ifindex {
				v = &verdict{failure{state: StateBackoff, cause: "the TUN device was removed"},
					false}
			}
		}
		if v != nil {
			return v.failure, v.asked
		}
	}
}

// post hands an event to the loop.
func (r *run) post(e event) {
	select {
	case r.events <- e:
	case <-r.ctx.Done():
	}
}

// logLine keeps a line and posts what it tells of a failure.
func (r *run) logLine(flags, text string) {
	if strings.HasPrefix(text, "MANAGEMENT: ") {
		return // our own conversation, in which secrets may be said
	}
	text = challenge.ReplaceAllString(text, "CRV1:…:") // it holds the user's name
	r.t.ring.add(time.Now(), flags, text)
	if f, ok := classify(text); ok {
		r.post(failEvent{f})
	}
}

// ended reads what the process said last, and explains its end.
func (r *run) ended(served <-chan struct{}) failure {
	limit := time.NewTimer(obedience)
	defer limit.Stop()
	proc := r.proc.Done()
	for served != nil || proc != nil {
		select {
		case e := <-r.events:
			if f, ok := e.(failEvent); ok {
				r.blame = heavier(r.blame, f.failure)
			}
		case <-served:
			served = nil
		case <-proc:
			proc = nil
		case <-limit.C:
			served, proc = nil, nil
		}
	}
	if r.blame.cause != "" {
		return r.blame
	}
	cause := "openvpn no longer answers"
	select {
	case <-r.proc.Done():
		cause = "openvpn ended"
		if err := r.proc.Err(); err != nil {
			cause = "openvpn " + err.Error()
		}
	default:
	}
	return failure{state: StateBackoff, cause: cause}
}

// handle takes what openvpn says. It returns a verdict when the process must end.
func (r *run) handle(e event) *verdict {
	switch e := e.(type) {
	case holdEvent:
		return r.hold(e.seconds)
	case needEvent:
		return r.answerPassword(e.what)
	case refuseEvent:
		return r.refused(e)
	case upEvent:
		r.env = e.env
	case downEvent:
		r.env = nil
		r.lost(failure{state: StateBackoff, cause: "the server's settings changed"})
	case stateEvent:
		return r.state(e)
	case failEvent:
		r.blame, r.blamed = heavier(r.blame, e.failure), time.Now()
	}
	return nil
}

// command sends a command. A process that does not take it is of no use any more.
func (r *run) command(template string, args ...any) *verdict {
	if _, err := r.conn.SingleLineCommand(template, args...); err != nil {
		return &verdict{failure: heavier(r.blame,
			failure{state: StateBackoff, cause: fmt.Sprintf("openvpn no longer answers: %v", err)})}
	}
	return nil
}

// state takes a STATE event.
func (r *run) state(e stateEvent) *verdict {
	switch e.name {
	case "CONNECTED":
		return r.up()
	case "RECONNECTING", "EXITING":
		f, known := restartReasons[e.detail]
		if !known {
			f = failure{state: StateBackoff, cause: "openvpn reconnects: " + e.detail}
		}
		if r.phase == trying && r.greets && e.detail == "connection-reset" {
			f = failure{state: StateTLSFailed,
				cause: "the server answered and broke off the TLS handshake", remedy: remedySilence}
		}
		stale := r.phase == connected && time.Since(r.blamed) > time.Minute
		if r.blame.cause == "" || stale || e.detail == reasonToken || e.detail == reasonTemporary {
			r.blame = f // with a token, it was not the refusal that it looked like
		}
		r.lost(r.blame)
	default:
		if r.phase == trying {
			r.greets = r.greets || e.name == "AUTH"
			r.timer.Reset(r.patience())
		}
	}
	return nil
}

// patience is how long an attempt may rest in its present state.
func (r *run) patience() time.Duration {
	if r.t.course.brief() && !r.greets {
		return brief
	}
	return stall
}

// up publishes the session, or refuses it.
func (r *run) up() *verdict {
	session, warnings, err := parseSession(r.env, r.t.forbidden())
	if err != nil {
		r.blame = failure{state: StatePushRefused, cause: err.Error(),
			remedy: "another server may assign other addresses; else this host's network must be " +
				"renumbered"}
		return r.leave(false)
	}
	r.enter(connected, 365*24*time.Hour)
	r.blame = failure{}
	r.t.upSince = time.Now()
	r.t.course.haste = 0
	r.t.change(func(s *Status) {
		s.State, s.Cause, s.Remedy, s.NextRetry = StateUp, "", "", time.Time{}
		s.Session, s.Failures = session, 0
		s.Warnings = append(r.t.certificateWarnings(), warnings...)
		s.Generation++
	})
	return nil
}

// lost is the end of a session; the hold follows.
func (r *run) lost(f failure) {
	if r.phase != connected {
		return
	}
	r.t.course.hasten()
	r.enter(leaving, obedience+stall)
	r.reconnecting(f)
}

func (r *run) reconnecting(f failure) {
	r.t.change(func(s *Status) {
		s.State, s.Cause, s.Remedy, s.NextRetry = StateReconnecting, f.cause, f.remedy, time.Time{}
	})
}

// leave tells openvpn to give up what it is doing and go to its hold.
func (r *run) leave(asked bool) *verdict {
	r.asked = asked
	r.enter(leaving, obedience)
	return r.command("signal SIGUSR1")
}

// expire is the end of a phase's time.
func (r *run) expire() *verdict {
	switch r.phase {
	case holding:
		return r.resolve()
	case trying:
		f := failure{state: StateBackoff, cause: "the connection attempt made no progress",
			remedy: remedyNetwork}
		if r.greets { // a server that refuses us in the handshake just falls silent
			f = failure{state: StateTLSFailed,
				cause:  "the server answered and fell silent during the TLS handshake",
				remedy: remedySilence}
		}
		r.blame = heavier(r.blame, f)
		return r.leave(false)
	case leaving, starting:
		return &verdict{heavier(r.blame,
			failure{state: StateBackoff, cause: "openvpn no longer reacts"}), r.asked}
	}
	return nil
}

// request does what Reconnect, Hurry, Retry or Restart ask.
func (r *run) request(q request) *verdict {
	f := failure{state: StateBackoff, cause: q.cause}
	if q.hurry {
		r.t.failures = tally{}
	}
	switch {
	case q.restart:
		return &verdict{f, true}
	case r.phase == holding && (q.retry || r.t.hurry(r.t.Status().State)):
		return r.resolve()
	case r.phase != connected || !q.reconnect:
		return nil
	}
	r.t.course.hasten()
	if time.Since(r.t.upSince) < young {
		r.t.course.fail()
	}
	r.t.upSince = time.Time{}
	r.reconnecting(f)
	return r.leave(true)
}
