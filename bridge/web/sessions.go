package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

// cookieName returns the name of the cookie that carries a session. By TLS it is another one: a
// browser that has a Secure cookie takes none of that name without TLS.
func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-ztbridge"
	}
	return "ztbridge"
}

const (
	// idleLife ends a session that is not used, maxLife any session.
	idleLife = 24 * time.Hour
	maxLife  = 7 * 24 * time.Hour
	// maxSessions bounds memory; beyond it the one unused for longest ends.
	maxSessions = 64
)

// session is a browser that has logged in.
type session struct {
	role  Role
	token string // that forms carry
	stamp string // of the password that it was opened with
	began time.Time
	used  time.Time // guarded by sessions.mu
}

// allows reports whether the form's token is the session's.
func (s *session) allows(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

// sessions are in memory alone: a restart ends them. Safe for concurrent use.
type sessions struct {
	now     func() time.Time
	current func(Role) string // stamp of a role's password

	mu  sync.Mutex
	all map[[sha256.Size]byte]*session // by the hash of the cookie
}

func newSessions(now func() time.Time, current func(Role) string) *sessions {
	return &sessions{now: now, current: current, all: map[[sha256.Size]byte]*session{}}
}

// open begins a session and gives its cookie to the browser.
func (s *sessions) open(w http.ResponseWriter, r *http.Request, role Role, stamp string) *session {
	cookie, now := random(), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= maxSessions {
		s.dropOldest()
	}
	opened := &session{role, random(), stamp, now, now}
	s.all[sha256.Sum256([]byte(cookie))] = opened
	setCookie(w, r, cookie, int(maxLife/time.Second))
	return opened
}

// of returns the session of a request, nil if it has none.
func (s *sessions) of(r *http.Request) *session {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil
	}
	key, now := sha256.Sum256([]byte(cookie.Value)), s.now()
	s.mu.Lock()
	found := s.all[key]
	if found != nil && (now.Sub(found.used) > idleLife || now.Sub(found.began) > maxLife) {
		delete(s.all, key)
		found = nil
	}
	if found != nil {
		found.used = now
	}
	s.mu.Unlock()
	if found == nil || s.current(found.role) != found.stamp {
		return nil
	}
	return found
}

// end ends the session of a request and takes the cookie from the browser.
func (s *sessions) end(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(cookieName(r)); err == nil {
		s.mu.Lock()
		delete(s.all, sha256.Sum256([]byte(cookie.Value)))
		s.mu.Unlock()
	}
	setCookie(w, r, "", -1)
}

// dropOldest ends the session that was not used for longest. The caller holds mu.
func (s *sessions) dropOldest() {
	var oldest [sha256.Size]byte
	var at time.Time
	for key, one := range s.all {
		if at.IsZero() || one.used.Before(at) {
			oldest, at = key, one.used
		}
	}
	delete(s.all, oldest)
}

func setCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where there is TLS
		Name: cookieName(r), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true,
		Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// random returns 256 random bits as text.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
