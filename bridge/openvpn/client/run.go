package client

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"ztbridge/bridge/openvpn/management"
	"ztbridge/bridge/openvpn/process"
	"ztbridge/bridge/step"
)

const (
	// stallTimeout is how long a connection attempt may rest in one of openvpn's states. That no
	// server answers at all is noticed earlier, by connect-timeout.
	stallTimeout = 15 * time.Second
	// fastTimeout is how long a server may be silent in a fast round. It allows for the first
	// packet, one more if that was lost, and the answer.
	fastTimeout = 1500 * time.Millisecond
	// signalTimeout is how long openvpn may take from SIGUSR1 to its hold.
	signalTimeout = 2 * time.Second
	// deviceInterval is how often the TUN device is looked at: without it openvpn spins.
	deviceInterval = time.Second
	// earlyLoss is how soon after coming up a request to reconnect means that the server is bad.
	earlyLoss = 30 * time.Second
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

	phase         phase
	timer         *time.Timer // of the phase
	target        target      // the server that the process was started with
	lastFailure   failure     // the worst that openvpn's log tells of this attempt
	lastFailureAt time.Time   // when it last told something
	serverReplied bool        // the server has answered in this attempt
	loggingIn     bool        // the server has yet to accept the login
	asked         bool        // the next hold was asked for: no failure
	// of the last UPDOWN:UP; openvpn does not repeat it when nothing changed
	env      map[string]string
	held     bool      // was in hold before
	released time.Time // when the attempt began
	ping     int       // how often the server says it sends one, in seconds; 0: it says nothing
	race     race
}

type resolution struct {
	target target
	remark error
	err    error
}

// outcome is how a run ended.
type outcome struct {
	failure failure
	asked   bool
}

// supervise serves management and handles its events until the process or ctx ends, or a timeout.
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
	watch := time.NewTimer(deviceInterval)
	defer watch.Stop()
	looked := time.Now()
	for {
		var v *outcome
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
		case a := <-r.race.answers:
			v = r.heard(a)
		case <-r.race.due:
			v = r.raceDue()
		case q := <-r.t.requests:
			v = r.request(q)
		case <-watch.C:
			before, now := looked, time.Now()
			looked = now
			watch.Reset(step.Until(now, deviceInterval))
			if rotates(r.t.cfg.Rotate, before, now) && r.phase == connected {
				r.t.servers.skip()
				r.t.servers.measure()
				v = &outcome{failure{state: StateBackoff,
					cause: "it is time for the next server"}, true}
			}
			if !r.t.cfg.DeviceMoves && interfaceIndex(r.t.cfg.Device) != r.ifindex {
				v = &outcome{failure{state: StateBackoff, cause: "the TUN device was removed"},
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
	r.t.output.add(time.Now(), flags, text)
	if e, ok := parsePending(text); ok {
		r.post(e)
	}
	if seconds, ok := parsePushedPing(text); ok {
		r.post(pingEvent{seconds})
	}
	if f, ok := classifyBy(r.target.proxy.IsValid(), text); ok {
		if f == refusedByProxy && r.proxyLogin() == nil {
			f = proxyWantsLogin
		}
		r.post(failEvent{f})
	}
}

// ended reads what the process said last, and explains its end.
func (r *run) ended(served <-chan struct{}) failure {
	limit := time.NewTimer(signalTimeout)
	defer limit.Stop()
	proc := r.proc.Done()
	for served != nil || proc != nil {
		select {
		case e := <-r.events:
			if f, ok := e.(failEvent); ok {
				r.lastFailure = worse(r.lastFailure, f.failure)
			}
		case <-served:
			served = nil
		case <-proc:
			proc = nil
		case <-limit.C:
			served, proc = nil, nil
		}
	}
	if r.lastFailure.cause != "" {
		return r.lastFailure
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

// handle takes what openvpn says. It returns an outcome when the process must end.
func (r *run) handle(e event) *outcome {
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
	case pendingEvent:
		r.awaitLogin(e.limit+loginMargin, causeApproval, remedyApproval)
	case pingEvent:
		r.ping = e.seconds
	case failEvent:
		if e.failure.cause == causeNoRoute {
			e.failure = explainNoRoute(r.target.server(), hasRoute)
		}
		now := time.Now()
		r.lastFailure, r.lastFailureAt = worse(r.lastFailure, datedBy(now, e.failure)), now
	}
	return nil
}

// command sends a command. A process that does not take it is of no use any more.
func (r *run) command(template string, args ...any) *outcome {
	if _, err := r.conn.SingleLineCommand(template, args...); err != nil {
		return &outcome{failure: worse(r.lastFailure,
			failure{state: StateBackoff, cause: fmt.Sprintf("openvpn no longer answers: %v", err)})}
	}
	return nil
}

// state takes a STATE event.
func (r *run) state(e stateEvent) *outcome {
	switch e.name {
	case "CONNECTED":
		return r.up()
	case "RECONNECTING", "EXITING":
		f := r.reasonOf(e.detail)
		stale := r.phase == connected && time.Since(r.lastFailureAt) > time.Minute
		if r.lastFailure.cause == "" || stale || e.detail == reasonToken ||
			e.detail == reasonTemporary {
			r.lastFailure = f // with a token, it was not the refusal that it looked like
		}
		r.lost(r.lastFailure)
	case "GET_CONFIG":
		r.awaitLogin(loginTimeout, causeLogin, "")
	case "AUTH_PENDING": // the log says how long
	default:
		return r.progress(e.name)
	}
	return nil
}

// up publishes the session, or refuses it.
func (r *run) up() *outcome {
	session, warnings, err := parseSession(r.env, r.t.forbidden())
	if err != nil {
		r.lastFailure = failure{state: StatePushRefused, cause: err.Error(),
			remedy: "another server may assign other addresses; else this host's network must be " +
				"renumbered"}
		return r.leave(false)
	}
	r.enterUntimed(connected)
	r.lastFailure = failure{}
	r.t.upSince = time.Now()
	r.t.cameBack(r.target.remote, r.ping)
	r.t.servers.fastRounds, r.t.servers.jumped = 0, false
	if err := r.t.servers.pace.save(); err != nil {
		r.t.log.Warn("cannot remember", "error", err)
	}
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
	r.t.servers.beginFastRound()
	r.enter(leaving, signalTimeout+stallTimeout)
	r.reconnecting(f)
}

func (r *run) reconnecting(f failure) {
	r.t.change(func(s *Status) {
		s.State, s.Cause, s.Remedy, s.NextRetry = StateReconnecting, f.cause, f.remedy, time.Time{}
	})
}

// leave tells openvpn to give up what it is doing and go to its hold.
func (r *run) leave(asked bool) *outcome {
	r.asked = asked
	r.enter(leaving, signalTimeout)
	return r.command("signal SIGUSR1")
}

// expire is the end of a phase's time.
func (r *run) expire() *outcome {
	switch r.phase {
	case holding:
		return r.resolve()
	case trying:
		if r.target.measure {
			return measured()
		}
		if r.race.best != nil {
			return r.overtake(*r.race.best)
		}
		f := failure{state: StateBackoff, cause: "the connection attempt made no progress",
			remedy: remedyNetwork}
		switch {
		case r.loggingIn:
			f = restartReasons[reasonNoSettings]
		case r.serverReplied: // a server that refuses us in the handshake just falls silent
			f = fellSilent
		}
		r.lastFailure = worse(r.lastFailure, f)
		return r.leave(false)
	case leaving, starting:
		return &outcome{worse(r.lastFailure,
			failure{state: StateBackoff, cause: "openvpn no longer reacts"}), r.asked}
	}
	return nil
}

// request does what Reconnect, Hurry, Retry or Restart ask.
func (r *run) request(q request) *outcome {
	f := failure{state: StateBackoff, cause: q.cause}
	if q.hurry {
		r.t.failures = failureCount{}
	}
	if q.member != "" {
		r.t.preferred = q.member // it counts when no lookup is under way
	}
	switch {
	case q.restart:
		return &outcome{f, true}
	case r.phase == holding && (q.retry || r.t.hurry(r.t.Status().State)):
		return r.resolve()
	case r.phase != connected || !q.reconnect:
		return nil
	}
	r.t.servers.beginFastRound()
	if time.Since(r.t.upSince) < earlyLoss {
		r.t.servers.fail()
	}
	r.t.upSince = time.Time{}
	r.reconnecting(f)
	return r.leave(true)
}
