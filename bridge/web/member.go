package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"ztbridge/bridge/api"
)

// The limits of members.
const (
	// A choice costs a pass and a write to the disk.
	chooseBurst = 12
	chooseEvery = 20 * time.Second
	// maxAgain is how often a browser is sent to open another connection. It may have some in
	// store that are too old.
	maxAgain = 8
	// settling is how much earlier a connection may seem to have been opened than it was.
	settling = 25 * time.Millisecond
)

// routeDevice adds what a device may see and do that has not logged in: itself, and its own exit.
//
//	session ─▶ role owner or viewer
//	no session ─▶ api.DeviceBackend.Identify ─▶ role member, for this request alone
//
// No cookie says who a member is, but each of its connections. So another web page that its browser
// shows could act for it: shield keeps those out, and the form's token does, which is made of the
// device's identity.
func (s *Server) routeDevice(mux *http.ServeMux) {
	mux.HandleFunc("GET /device", s.device("/device", s.devicePage))
	mux.HandleFunc("GET /device/events", s.device("/device/events", s.deviceEvents))
	mux.HandleFunc("POST "+exitPath, s.device(exitPath, s.useOwn))
}

// exitPath is where the forms of a device's page go.
const exitPath = "/device/exit"

var errNoDevices = errors.New("this box tells no devices apart")

// identify returns which device a request is from.
func (s *Server) identify(r *http.Request) (api.Identity, error) {
	devices, can := s.config.Backend.(api.DeviceBackend)
	from, known := senderOf(r)
	if !can || !known {
		return api.Identity{}, errNoDevices
	}
	return devices.Identify(r.Context(), from) //nolint:wrapcheck // says who, and why not
}

// deviceHandler answers a device that is known.
type deviceHandler func(http.ResponseWriter, *http.Request, api.Identity)

// home shows the status to those who have logged in, and a device its own page. Whoever is neither
// has to log in.
func (s *Server) home(status http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.sessions.of(r) != nil {
			status(w, r)
			return
		}
		of, err := s.identify(r)
		switch {
		case errors.Is(err, api.ErrAskAgain):
			s.askAgain(w, r, "/")
		case err != nil:
			s.config.Log.Debug("no device of this box", "from", sourceOf(r), "error", err)
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		default:
			s.devicePage(w, s.asMember(r, of), of)
		}
	}
}

// device lets only requests through whose device is known.
func (s *Server) device(path string, next deviceHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		of, err := s.identify(r)
		switch {
		case errors.Is(err, api.ErrAskAgain):
			s.askAgain(w, r, path)
		case err != nil:
			s.config.Log.Debug("no device of this box", "from", sourceOf(r), "error", err)
			s.refuse(w, r, http.StatusForbidden, "This box cannot tell which device you are.",
				"Devices of ZeroTier and clients of the endpoint are recognised, at the box's "+
					"address there. Who is not can log in.")
		default:
			next(w, s.asMember(r, of), of)
		}
	}
}

// asMember returns a request with the role that its sender has: member, if it has not logged in.
func (s *Server) asMember(r *http.Request, of api.Identity) *http.Request {
	found := s.sessions.of(r)
	if found == nil {
		found = &session{role: Member, token: s.memberToken(of)}
	}
	return withSession(r, found)
}

// memberToken returns what the forms of a device's page carry.
func (s *Server) memberToken(of api.Identity) string {
	mac := hmac.New(sha256.New, s.memberKey)
	fmt.Fprintf(mac, "%s %s %s", of.Kind, of.Network, of.ID)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// askAgain has the browser send a request once more, by a connection that only its device can have
// opened.
func (s *Server) askAgain(w http.ResponseWriter, r *http.Request, path string) {
	w.Header().Set("Connection", "close")
	again, _ := strconv.Atoi(r.URL.Query().Get("again")) // 0 if there is none
	if again < 0 || again >= maxAgain {
		s.refuse(w, r, http.StatusServiceUnavailable, "This box does not know your device yet.",
			"Load the page again.")
		return
	}
	select {
	case <-r.Context().Done():
		return
	case <-time.After(settling):
	}
	code := http.StatusTemporaryRedirect // a form is sent once more, with what it holds
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		code = http.StatusSeeOther
	}
	http.Redirect(w, r, fmt.Sprintf("%s?again=%d", path, again+1), code)
}

func (s *Server) devicePage(w http.ResponseWriter, r *http.Request, of api.Identity) {
	s.page(w, r, http.StatusOK, "device", frame{Title: "This device", Active: "device",
		Body: s.own(of, sessionOf(r).token)})
}

func (s *Server) deviceEvents(w http.ResponseWriter, r *http.Request, first api.Identity) {
	s.stream(w, r, func() []byte {
		of, err := s.identify(r)
		if err != nil || of.ID != first.ID {
			return nil
		}
		return s.fragment("device", s.own(of, sessionOf(r).token))
	})
}

// useOwn makes an exit the choice of the device that asks for it, or forgets the choice.
func (s *Server) useOwn(w http.ResponseWriter, r *http.Request, of api.Identity) {
	s.token(func(w http.ResponseWriter, r *http.Request) {
		exit := r.PostFormValue("exit")
		who := of.Kind + " " + of.ID
		if !s.choices.Take(who) {
			wait := s.choices.Wait(who)
			tooMany(w, wait.Seconds())
			s.refuse(w, r, http.StatusTooManyRequests, "That was too often.",
				"Choose again in "+waiting(wait)+".")
			return
		}
		what := fmt.Sprintf("choose the exit %.60q for %s", exit, who)
		if exit == "" {
			what = "follow the rule again for " + who
		}
		from, _ := senderOf(r)
		// Whoever closes the page in between has still asked for it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), api.Timeout)
		defer cancel()
		_, err := s.config.Backend.(api.DeviceBackend).UseOwn(ctx, from, exit)
		if errors.Is(err, api.ErrAskAgain) {
			s.askAgain(w, r, exitPath)
			return
		}
		s.record(r, what, err)
		switch {
		case errors.Is(err, api.ErrNotFound):
			s.refuse(w, r, http.StatusNotFound, "This device may not choose that exit.",
				"Nothing was changed.")
		case err != nil:
			s.config.Log.Warn("a device's choice failed", "device", who, "error", err)
			s.refuse(w, r, http.StatusInternalServerError, "That did not work.",
				"Try again. If it fails again, tell the owner of this box.")
		default:
			http.Redirect(w, r, "/device", http.StatusSeeOther)
		}
	})(w, r)
}
