package web

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"ztbridge/bridge/api"
)

// claimView is the page on which the owner's first password is made.
type claimView struct {
	Left  string // for how long no code is needed here; empty: one is
	Late  bool   // the time in which the LAN needs none is over
	Fault string
	Min   int // characters of a password
}

// fromLAN reports whether a request came by the uplink, from a neighbour with a private address:
// the listener admits no other one there.
func (s *Server) fromLAN(r *http.Request) bool {
	from, ok := senderOf(r)
	status := s.config.Backend.Status()
	if !ok || status.WAN.Interface == "" || from.Iface != status.WAN.Interface {
		return false
	}
	// An interface where devices enter is none of the LAN's, whatever leads to the Internet now.
	return !slices.ContainsFunc(status.Ingresses,
		func(i api.Ingress) bool { return i.Interface == from.Iface })
}

// showClaim answers with the form that makes the first password.
func (s *Server) showClaim(w http.ResponseWriter, r *http.Request, code int, left time.Duration,
	fault string) {
	v := claimView{Fault: fault, Min: minPassword}
	if s.fromLAN(r) {
		v.Late = left == 0
		if left > 0 {
			v.Left = waiting(left)
		}
	}
	s.page(w, r, code, "claim", frame{Title: "Make this box yours", Body: v})
}

// claim makes the first password of the owner, and logs in by it.
func (s *Server) claim(w http.ResponseWriter, r *http.Request) {
	password := r.PostFormValue("password")
	switch { // neither tells anything of the code, nor counts as a guess at it
	case password != r.PostFormValue("again"):
		s.refuseClaim(w, r, http.StatusBadRequest, "The two passwords differ.")
		return
	case !usable(password):
		s.refuseClaim(w, r, http.StatusBadRequest, sentence(ErrPassword.Error())+".")
		return
	}
	if wait, ok := s.attempt(r); !ok {
		tooMany(w, wait.Seconds())
		s.record(r, claimAction, errors.New("too many wrong codes"))
		s.refuseClaim(w, r, http.StatusTooManyRequests,
			"Too many wrong codes. Try again in "+waiting(wait)+".")
		return
	}
	err := s.accounts.claim(r.PostFormValue("code"), s.fromLAN(r), password)
	s.record(r, claimAction, err)
	switch {
	case errors.Is(err, ErrNoClaim):
		s.refuse(w, r, http.StatusConflict, "This box cannot be claimed: it has an owner, or was "+
			"set up by its files.", "If somebody else was faster than you, make another password "+
			"on the box: sudo ztbridge page password")
	case errors.Is(err, errCode), errors.Is(err, errNeedCode):
		s.refuseClaim(w, r, http.StatusForbidden, sentence(err.Error())+".")
	case err != nil:
		s.config.Log.Error("claiming the page failed", "error", err)
		s.refuseClaim(w, r, http.StatusInternalServerError,
			"The password could not be kept. See the log: journalctl -u ztbridge")
	default:
		s.wrong.Forgive(sourceOf(r))
		s.sessions.open(w, r, Owner, s.accounts.current(Owner))
		next := "/"
		if unfinished(s.config.Backend.Status()) {
			next = setupPage
		}
		http.Redirect(w, r, next, http.StatusSeeOther)
	}
}

// claimAction is what the log of actions calls a claim.
const claimAction = "claim this box"

// refuseClaim shows the form again.
func (s *Server) refuseClaim(w http.ResponseWriter, r *http.Request, code int, fault string) {
	left, err := s.accounts.claimLeft()
	if err != nil {
		s.showLogin(w, r, code, loginView{Fault: fault})
		return
	}
	s.showClaim(w, r, code, left, fault)
}

// attempt counts a try at a secret, and reports whether it may be made; else how long to wait.
func (s *Server) attempt(r *http.Request) (time.Duration, bool) {
	from := sourceOf(r)
	if s.wrong.Take(from) && s.allWrong.AllowN(s.config.Now(), 1) {
		return 0, true
	}
	return max(s.wrong.Wait(from), allEvery), false
}
