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
	s.showLogin(w, r, http.StatusOK, "")
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, code int, fault string) {
	claimed, err := s.accounts.Claimed()
	if err != nil {
		s.config.Log.Error("the page cannot be used", "error", err)
		code, fault = http.StatusInternalServerError,
			"The passwords cannot be read. See the log: journalctl -u ztbridge"
	}
	s.page(w, r, code, "login", frame{Title: "Log in", Body: loginView{claimed, fault}})
}

// login checks a password. Wrong ones are counted by source and all together; while there have been
// too many, right ones are refused as well.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	// It is counted before the password is checked: many attempts at once are as many attempts.
	if wait, ok := s.attempt(r); !ok {
		tooMany(w, wait.Seconds())
		s.record(r, "log in", errors.New("too many wrong passwords"))
		s.showLogin(w, r, http.StatusTooManyRequests, "Too many wrong passwords. Try again in "+
			waiting(wait)+".")
		return
	}
	role, stamp, ok, err := s.accounts.Check(r.PostFormValue("password"))
	if err != nil || !ok {
		if err == nil {
			err = errWrong
		}
		s.record(r, "log in", err)
		s.showLogin(w, r, http.StatusUnauthorized, "That password is not right.")
		return
	}
	s.wrong.Forgive(sourceOf(r))
	s.sessions.open(w, r, role, stamp)
	s.record(r, "log in as "+string(role), nil)
	http.Redirect(w, r, "/", http.StatusSeeOther)
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
