package client

import "time"

// hold is where openvpn waits for us before each attempt. seconds is how long it would wait itself.
func (r *run) hold(seconds int) *outcome {
	first, asked := !r.held, r.asked
	r.held, r.asked = true, false
	f := r.lastFailure
	r.lastFailure = failure{}
	if first {
		return r.release(resolution{target: r.target})
	}
	if asked {
		return r.resolve()
	}
	if r.target.measure {
		return measured()
	}
	if r.target.chacha20 && f.cause == causeNoCipher {
		r.t.servers.allCiphers[r.target.remote] = true
		return &outcome{failure{state: StateBackoff, cause: "all ciphers are offered"}, true}
	}
	if f == restartReasons[reasonSilence] && !r.t.upSince.IsZero() {
		r.t.silentAt = time.Now()
		if r.t.allowSilence(r.target.remote, r.ping) {
			r.t.upSince = time.Time{}
			return &outcome{f, true}
		}
	}
	if f.cause == "" {
		f = failure{state: StateBackoff, cause: "the connection did not succeed",
			remedy: remedyNetwork}
	}
	best := r.race.best
	wait := r.t.nextWait(f)
	if best != nil && perRemote[f.state] {
		r.t.servers.jump(*best)
	}
	if f == restartReasons[reasonTemporary] {
		wait = max(wait, time.Duration(seconds)*time.Second, 5*time.Second)
	}
	return r.wait(f, wait)
}

// measured is the end of a run that was to show how soon a server answers.
func measured() *outcome {
	return &outcome{failure{state: StateBackoff, cause: "the next server is tried"}, true}
}

// wait stays in hold.
func (r *run) wait(f failure, wait time.Duration) *outcome {
	if wait == 0 {
		r.reconnecting(f)
		return r.resolve()
	}
	r.enter(holding, wait)
	r.t.waiting(f, wait)
	return nil
}

// enter begins a phase with the time that it may take.
func (r *run) enter(p phase, limit time.Duration) {
	r.endRace()
	r.phase = p
	r.timer.Reset(limit)
}

// enterUntimed begins a phase that only an event ends.
func (r *run) enterUntimed(p phase) {
	r.endRace()
	r.phase = p
	r.timer.Stop()
}

// resolve looks for the next address beside the loop.
func (r *run) resolve() *outcome {
	r.enterUntimed(resolving) // each lookup has its own timeout
	if r.t.Status().State != StateReconnecting {
		r.t.enter(StateResolving)
	}
	r.helpers.Go(func() {
		var res resolution
		res.target, res.remark, res.err = r.t.servers.target(r.ctx)
		r.resolved <- res
	})
	return nil
}

// release lets openvpn begin an attempt, or ends it when it is another server's turn: a process
// knows one.
func (r *run) release(res resolution) *outcome {
	if res.err != nil {
		f := unresolved(res.err)
		r.t.upSince = time.Time{}
		return r.wait(f, r.t.nextWait(f))
	}
	if res.remark != nil {
		r.t.log.Warn("a server's name did not resolve", "error", res.remark)
	}
	if res.target != r.target {
		return &outcome{failure{state: StateBackoff, cause: "the next server is tried"}, true}
	}
	r.serverReplied, r.loggingIn, r.released = false, false, time.Now()
	r.enter(trying, r.attemptTimeout())
	r.t.change(func(s *Status) {
		s.Remote, s.Server, s.NextRetry = r.target.remote, r.target.server(), time.Time{}
		s.Proxy = r.target.proxyAddr()
		if s.State != StateReconnecting {
			s.State, s.Cause, s.Remedy = StateConnecting, "", ""
		}
	})
	r.startRace()
	return r.command("hold release")
}

// progress takes the state of an attempt.
func (r *run) progress(state string) *outcome {
	if state == "WAIT" && r.target.proxy.IsValid() {
		r.lastFailure = failure{} // what the proxy asked for, it has got
	}
	if r.phase != trying {
		return nil
	}
	if state == "AUTH" && !r.serverReplied {
		r.serverReplied = true
		r.endRace()
		r.t.servers.pace.record(r.target.remote, time.Since(r.released))
	}
	if r.serverReplied && r.target.measure {
		return measured()
	}
	r.timer.Reset(r.attemptTimeout())
	return nil
}
