package web

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ztbridge/bridge/connlimit"
)

// maxForm bounds the bodies of forms, in bytes.
const maxForm = 64 << 10

// headers of every answer. Nothing is loaded from elsewhere, no script or style stands in a page.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; " +
		"img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; " +
		"frame-ancestors 'none'",
	"X-Content-Type-Options": "nosniff",
	// Not no-referrer: browsers would hide the origin of forms by it.
	"Referrer-Policy":              "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=()",
	"Cache-Control":                "no-store",
}

// shield lets only requests through that a browser on this very page may make.
func (s *Server) shield(next http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusForbidden, "This request came from another web page.",
			"Nothing was changed. Open the page of your box itself.")
	}))
	inner := sameOrigin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		if r.TLS != nil { // browsers complain of it elsewhere
			w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		}
		if !s.knows(r) {
			// Somebody else's name that leads here: DNS rebinding.
			http.Error(w, "This box has no such name. Open it by its address.",
				http.StatusMisdirectedRequest)
			return
		}
		if s.secured(w, r) {
			return
		}
		if from := sourceOf(r); !s.requests.Take(from) {
			tooMany(w, s.requests.Wait(from).Seconds())
			http.Error(w, "Too many requests.", http.StatusTooManyRequests)
			return
		}
		limit := int64(maxForm)
		if r.URL.Path == uploadPage { // nobody but the owner is read any of it
			limit += maxSent
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		inner.ServeHTTP(w, r)
	})
}

// knows reports whether the Host that a browser asks for is this box: the address that it is
// connected to, one of the box's names, or one of its certificate's.
func (s *Server) knows(r *http.Request) bool {
	host := hostOf(r)
	if addr, err := netip.ParseAddr(host); err == nil {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		return ok && addr.WithZone("").Unmap() == connlimit.AddrOf(local)
	}
	return s.covers(host) || slices.ContainsFunc(s.config.Names,
		func(name string) bool { return strings.EqualFold(name, host) })
}

// sourceOf returns the address that a request came from.
func sourceOf(r *http.Request) source {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return source{}
	}
	return addr.Addr().Unmap().WithZone("")
}

func tooMany(w http.ResponseWriter, seconds float64) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(seconds))))
}

type sessionKey struct{}

// sessionOf returns the session of a request that passed role or device; nil for any other.
func sessionOf(r *http.Request) *session {
	found, _ := r.Context().Value(sessionKey{}).(*session)
	return found
}

// role lets only those through who have logged in as one of the roles.
func (s *Server) role(next http.HandlerFunc, roles ...Role) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found := s.sessions.of(r)
		switch {
		case found == nil && r.Method == http.MethodPost && r.Header.Get("HX-Request") == "":
			s.askLogin(w, r)
		case found == nil && (r.Method != http.MethodGet || r.Header.Get("HX-Request") != ""):
			s.refuse(w, r, http.StatusUnauthorized, "You are not logged in.", "Log in again.")
		case found == nil:
			http.Redirect(w, r, loginFor(r), http.StatusSeeOther)
		case !slices.Contains(roles, found.role):
			s.refuse(w, r, http.StatusForbidden,
				fmt.Sprintf("A %s may look at this box, and not change it.", found.role),
				"Log in with the owner's password.")
		default:
			next(w, withSession(r, found))
		}
	}
}

// token lets only forms through that this page has made for this session.
func (s *Server) token(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("X-Token")
		if given == "" {
			given = r.PostFormValue("token")
		}
		if !sessionOf(r).allows(given) {
			s.outOfDate(w, r)
			return
		}
		next(w, r)
	}
}

// form lets only forms of the owner's through that this page has made for the session.
func (s *Server) form(next http.HandlerFunc) http.HandlerFunc {
	return s.role(s.token(next), Owner)
}

// outOfDate refuses a form that this page has not made for this session.
func (s *Server) outOfDate(w http.ResponseWriter, r *http.Request) {
	if h := heldOf(r); h.Fields != nil {
		s.resume(w, r, http.StatusForbidden, h)
		return
	}
	s.refuse(w, r, http.StatusForbidden, "This form is out of date.",
		"Nothing was changed. Load the page again.")
}
