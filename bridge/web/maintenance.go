package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

// makeTimeout is how long a file may take to be made and sent.
const makeTimeout = 6 * time.Minute

// maintenanceView is the page of maintenance.
type maintenanceView struct {
	Version  string
	Newer    string // what waits to be installed; empty: nothing
	Restart  bool   // it can be restarted
	Files    bool   // they can be made
	Fault    string // why no backup was made
	Messages bool   // they can be tried
	Token    string
}

func (s *Server) routeMaintenance(mux *http.ServeMux) {
	mux.HandleFunc("GET /maintenance", s.role(func(w http.ResponseWriter, r *http.Request) {
		s.showMaintenance(w, r, nil)
	}, Owner))
	mux.HandleFunc("POST /maintenance/restart", s.form(s.once(s.restart)))
	mux.HandleFunc("POST /maintenance/update", s.form(s.once(s.update)))
	mux.HandleFunc("POST /maintenance/messages", s.form(s.once(s.testMessages)))
	mux.HandleFunc("POST /maintenance/support", s.form(s.makeSupport))
	mux.HandleFunc("POST /maintenance/backup", s.form(s.makeBackup))
}

func (s *Server) showMaintenance(w http.ResponseWriter, r *http.Request, refused error) {
	s.page(w, r, codeOf(refused), "maintenance", frame{Title: "Maintenance", Active: "maintenance",
		Body: maintenanceView{Version: s.feed.latest().status.Version,
			Restart: s.config.Tools.Restart != nil, Newer: s.newer(),
			Files:    s.config.Tools.Run != nil,
			Messages: s.messages() != nil, Fault: faultOf(refused),
			Token: sessionOf(r).token}})
}

// backAfter is when a browser asks for the page again after a restart, in seconds.
const backAfter = "15"

var errNotManaged = &api.HintedError{
	Err:  errors.New("this box cannot restart its gateway by itself"),
	Hint: "restart the machine, or whatever started ztbridge",
}

// restart ends the daemon, which systemd starts again. Sessions of the page end by it.
func (s *Server) restart(w http.ResponseWriter, r *http.Request) {
	again := s.config.Tools.Restart
	if again == nil {
		s.record(r, "restart the gateway", errNotManaged)
		s.refuseError(w, r, errNotManaged)
		return
	}
	s.record(r, "restart the gateway", nil)
	w.Header().Set("Refresh", backAfter+"; url=/login")
	s.refuse(w, r, http.StatusAccepted, "The gateway is restarting.",
		"Devices have no Internet for some seconds; nothing leaks meanwhile. Then log in again.")
	again()
}

// newer returns what the status says of a version that waits; empty: none does.
func (s *Server) newer() string {
	for _, c := range s.config.Backend.Status().Conditions {
		if c.Code == health.UpdateAvailable || c.Code == health.UpdateStaged {
			return c.Message
		}
	}
	return ""
}

var errNothingNewer = &api.HintedError{Err: errors.New("no newer version waits for this box"),
	Hint: "`ztbridge update status` says what is known"}

// update has the box install a newer version and restart into it.
func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	var err error = errNothingNewer
	if s.config.Tools.Update != nil && s.newer() != "" {
		err = s.config.Tools.Update()
	}
	s.record(r, "update now", err)
	if err != nil {
		s.refuseError(w, r, err)
		return
	}
	s.refuse(w, r, http.StatusAccepted, "The box updates itself within the next minutes.",
		"It restarts into the new version, and goes back to this one where that is not as "+
			"healthy. Then log in again.")
}

func (s *Server) makeSupport(w http.ResponseWriter, r *http.Request) {
	err := s.deliver(w, r, "support", ".zip", "application/zip", nil, "support", "-o", "-")
	s.record(r, "make a support bundle", err)
	if err != nil {
		s.refuseError(w, r, err)
	}
}

// Errors of passphrases that are not passed on.
var (
	errPassphrasesDiffer = errors.New("the two passphrases differ")
	errPassphrase        = fmt.Errorf("a passphrase has at most %d characters, in one line",
		maxPassword)
)

// makeBackup has a backup encrypted with a passphrase, which is handed on by a pipe alone.
func (s *Server) makeBackup(w http.ResponseWriter, r *http.Request) {
	passphrase := r.PostFormValue("passphrase")
	var err error
	switch {
	case passphrase != r.PostFormValue("again"):
		err = errPassphrasesDiffer
	case utf8.RuneCountInString(passphrase) > maxPassword,
		strings.ContainsAny(passphrase, "\r\n\x00\ufeff"):
		err = errPassphrase
	default:
		err = s.deliver(w, r, "backup", ".age", "application/octet-stream",
			strings.NewReader(passphrase+"\n"), "backup", "-o", "-", "--passphrase-file",
			"/dev/stdin")
	}
	s.record(r, "make a backup", err)
	if err != nil {
		s.showMaintenance(w, r, err)
	}
}

var (
	errBusy = &api.HintedError{Err: errors.New("another file is being made"),
		Hint: "try again in a minute"}
	errNoFiles = errors.New("this box makes no files for its page")
)

// deliver serves what a command writes as a file. An error means that nothing was sent; a download
// that cannot be completed is broken off.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request, what, ext, kind string,
	in io.Reader, args ...string) error {
	if s.config.Tools.Run == nil {
		return errNoFiles
	}
	if !s.making.TryLock() { // each costs processor and memory
		return errBusy
	}
	defer s.making.Unlock()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // nothing more is read
	_ = control.SetWriteDeadline(time.Now().Add(makeTimeout))
	out := &attachment{w: w, kind: kind, name: fmt.Sprintf("%s-%s-%s%s", s.config.Box, what,
		s.config.Now().UTC().Format("2006-01-02"), ext)}
	err := s.config.Tools.Run(r.Context(), in, out, args...)
	if err != nil && out.begun {
		s.record(r, "download the "+what, err)
		panic(http.ErrAbortHandler) // half a file must not look like a whole one
	}
	if err == nil && !out.begun {
		return fmt.Errorf("making the %s: it is empty", what)
	}
	return err
}

// attachment is a file in the response. Its headers are sent with its first bytes.
type attachment struct {
	w          http.ResponseWriter
	name, kind string
	begun      bool
}

// Write implements io.Writer.
func (a *attachment) Write(b []byte) (int, error) {
	if !a.begun && len(b) > 0 {
		a.begun = true
		a.w.Header().Set("Content-Type", a.kind)
		a.w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", a.name))
	}
	return a.w.Write(b) //nolint:wrapcheck // the caller wraps it
}
