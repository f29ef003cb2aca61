package web

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"
)

// loginView is the login page.
type loginView struct {
	Claimed bool
	Fault   string
	Back    string // the page to go to then; empty: the status
	held           // what was being sent; its path is empty where nothing was
}

var errWrong = errors.New("wrong password")

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	if s.sessions.of(r) != nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if left, err := s.accounts.claimLeft(); err == nil {
		s.showClaim(w, r, http.StatusOK, left, "")
		return
	}
	s.showLogin(w, r, http.StatusOK, loginView{Back: r.FormValue("back")})
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, code int, v loginView) {
	var err error
	if v.Claimed, err = s.accounts.Claimed(); err != nil {
		s.config.Log.Error("the page cannot be used", "error", err)
		code, v.Fault = http.StatusInternalServerError,
			"The passwords cannot be read. See the log: journalctl -u ztbridge"
	}
	s.page(w, r, code, "login", frame{Title: "Log in", Body: v})
}

// login checks a password. Wrong ones are counted by source and all together; while there have been
// too many, right ones are refused as well.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	again := loginView{Back: r.PostFormValue("back"), held: carried(r)}
	// It is counted before the password is checked: many attempts at once are as many attempts.
	if wait, ok := s.attempt(r); !ok {
		tooMany(w, wait.Seconds())
		s.record(r, "log in", errors.New("too many wrong passwords"))
		again.Fault = "Too many wrong passwords. Try again in " + waiting(wait) + "."
		s.showLogin(w, r, http.StatusTooManyRequests, again)
		return
	}
	role, stamp, ok, err := s.accounts.Check(r.PostFormValue("password"))
	if err != nil || !ok {
		if err == nil {
			err = errWrong
		}
		s.record(r, "log in", err)
		again.Fault = "That password is not right."
		s.showLogin(w, r, http.StatusUnauthorized, again)
		return
	}
	s.wrong.Forgive(sourceOf(r))
	opened := s.sessions.open(w, r, role, stamp)
	s.record(r, "log in as "+string(role), nil)
	switch {
	case again.Path != "":
		s.resume(w, withSession(r, opened), http.StatusOK, again.held)
	case isLocal(again.Back):
		http.Redirect(w, r, again.Back, http.StatusSeeOther)
	default:
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

func waiting(d time.Duration) string {
	if d <= time.Minute {
		return fmt.Sprintf("%d seconds", int(math.Ceil(d.Seconds())))
	}
	return fmt.Sprintf("%d minutes", int(math.Ceil(d.Minutes())))
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	s.record(r, "log out", nil)
	s.sessions.end(w, r)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}
