package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ztbridge/bridge/api"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets/dist
var assetFiles embed.FS

// asset is a built file. Its name in the URL changes with its content.
type asset struct {
	name   string // app.0123456789ab.js
	data   []byte
	zipped []byte // by gzip
}

// assets returns what is embedded, by the name of the file.
func assets() map[string]asset {
	out := map[string]asset{}
	entries, err := assetFiles.ReadDir("assets/dist")
	if err != nil {
		panic(err) // embedded
	}
	for _, e := range entries {
		data, err := fs.ReadFile(assetFiles, path.Join("assets/dist", e.Name()))
		if err != nil {
			panic(err) // embedded
		}
		sum := sha256.Sum256(data)
		ext := path.Ext(e.Name())
		base := e.Name()[:len(e.Name())-len(ext)]
		out[e.Name()] = asset{base + "." + hex.EncodeToString(sum[:6]) + ext, data, compress(data)}
	}
	return out
}

// frame is what every page has around its content.
type frame struct {
	Title, Active string
	Role          Role // empty: nobody is logged in
	Token         string
	Box           string // name of the box
	Version       string
	Clients       bool   // the box has an endpoint
	Network       bool   // the box is in a ZeroTier network
	Overheard     bool   // neighbours may read along
	Safer         string // where they cannot; empty: nowhere yet
	Body          any
}

// Handler returns the page's routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", s.loginPage)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /claim", s.claim)
	see := func(h http.HandlerFunc) http.HandlerFunc { return s.role(h, Owner, Viewer) }
	own := func(h http.HandlerFunc) http.HandlerFunc { return s.role(h, Owner) }
	mux.HandleFunc("POST /logout", see(s.token(s.logout)))
	mux.HandleFunc("GET /{$}", s.home(see(s.statusPage)))
	s.routeDevice(mux)
	mux.HandleFunc("GET /events", see(s.events))
	mux.HandleFunc("GET /charts", see(s.charts))
	mux.HandleFunc("GET /activity", own(s.activityPage))
	s.routeActions(mux)
	s.routeClients(mux)
	s.routeMaintenance(mux)
	s.routeNetwork(mux)
	s.routeUpload(mux)
	s.routeSetup(mux)
	for _, a := range s.assets {
		mux.HandleFunc("GET /assets/"+a.name, serveAsset(a))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusNotFound, "There is no such page.", "")
	})
	return s.shield(mux)
}

func serveAsset(a asset) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Header().Set("Vary", "Accept-Encoding")
		data := a.data
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			data = a.zipped
			w.Header().Set("Content-Encoding", "gzip")
		}
		http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(data))
	}
}

// compress is for what is the same for everybody: no secret is in it.
func compress(data []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // memory takes all
	}
	return b.Bytes()
}

// page answers with a whole page.
func (s *Server) page(w http.ResponseWriter, r *http.Request, code int, name string, f frame) {
	if found := sessionOf(r); found != nil {
		f.Role, f.Token, f.Clients = found.role, found.token, s.hasClients()
		f.Network = s.hasNetwork()
	}
	if f.Overheard = s.overheard(r); f.Overheard {
		f.Safer = s.saferAddress()
	}
	f.Box, f.Version = s.config.Box, s.feed.latest().status.Version
	var b bytes.Buffer
	if err := s.templates[name].ExecuteTemplate(&b, "frame", f); err != nil {
		s.config.Log.Error("making a page failed", "page", name, "error", err)
		http.Error(w, "This page cannot be made. See the log: journalctl -u ztbridge",
			http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(bytes.Map(visible, b.Bytes())) // a browser that went away misses nothing
}

// visible replaces what would turn the letters behind it around. Some texts come from strangers: a
// network's title, a member's name, what a server says.
func visible(r rune) rune {
	if unicode.Is(unicode.Bidi_Control, r) {
		return utf8.RuneError
	}
	return r
}

// message is the content of a page that says one thing.
type message struct{ Text, Remedy string }

// refuse answers with an error that people can read.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, code int, text, remedy string) {
	s.page(w, r, code, "message", frame{Title: text, Body: message{text, remedy}})
}

func (s *Server) statusPage(w http.ResponseWriter, r *http.Request) {
	v := s.view(sessionOf(r))
	v.Past = s.pastView(spanOf(r))
	s.page(w, r, http.StatusOK, "status", frame{Title: "Status", Active: "status", Body: v})
}

// view is the status as somebody with this session sees it.
func (s *Server) view(of *session) statusView {
	now := s.feed.latest()
	if now.status.Time.IsZero() { // the feed has not looked yet
		now.status = s.config.Backend.Status()
	}
	v := viewOf(now, s.exitOf)
	v.Owner, v.Token = of.role == Owner, of.token
	return v
}

// exitOf returns by which egress a client leaves now.
func (s *Server) exitOf(c api.Client) string {
	for _, addr := range c.Addresses {
		if e, err := s.config.Backend.Explain(addr); err == nil {
			if e.Egress == "" {
				return "blocked"
			}
			return e.Egress
		}
	}
	return "unknown"
}

// shownEntries is how many actions the page of activity lists.
const shownEntries = 100

type activityView struct{ Entries []Entry }

func (s *Server) activityPage(w http.ResponseWriter, r *http.Request) {
	entries, err := s.audit.last(shownEntries)
	if err != nil {
		s.config.Log.Warn("reading the page's log failed", "error", err)
		s.refuse(w, r, http.StatusInternalServerError, "The log of actions cannot be read.",
			"See the log: journalctl -u ztbridge")
		return
	}
	s.page(w, r, http.StatusOK, "activity", frame{Title: "Activity", Active: "activity",
		Body: activityView{entries}})
}

// events sends the status as it is now, and again whenever what it shows has changed.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, func() []byte {
		of := s.sessions.of(r)
		if of == nil {
			return nil
		}
		return s.fragment("status", s.view(of))
	})
}

// stream sends what fragment returns, and again whenever that has changed, until that is nothing.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, fragment func() []byte) {
	from := sourceOf(r)
	if !s.streams.open(from) {
		http.Error(w, "Too many pages are open.", http.StatusTooManyRequests)
		return
	}
	defer s.streams.close(from)
	news, stop := s.feed.watch()
	defer stop()
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // nothing more is read
	w.Header().Set("Content-Type", "text/event-stream")
	var before []byte
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		now := fragment()
		if now == nil {
			_ = s.send(w, out, "end", nil)
			return
		}
		if !bytes.Equal(now, before) {
			if s.send(w, out, "status", now) != nil {
				return // the browser went away
			}
			before = now
		}
		select {
		case <-r.Context().Done():
			return
		case <-news:
		case <-beat.C:
			before = nil
		}
	}
}

// heartbeat is the longest silence of a stream: a browser that vanished is found out by it.
const heartbeat = 25 * time.Second

// fragment is the live part of a page.
func (s *Server) fragment(page string, view any) []byte {
	var b bytes.Buffer
	if err := s.templates[page].ExecuteTemplate(&b, "live", view); err != nil {
		s.config.Log.Error("making a page failed", "page", page, "error", err)
	}
	return bytes.Map(visible, b.Bytes())
}

// send writes one event.
func (s *Server) send(w http.ResponseWriter, out *http.ResponseController, name string,
	data []byte) error {
	_ = out.SetWriteDeadline(time.Now().Add(ioTimeout))
	var b bytes.Buffer
	b.WriteString("event: " + name + "\n")
	for line := range bytes.Lines(data) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	if len(data) == 0 {
		b.WriteString("data:\n")
	}
	b.WriteByte('\n')
	if _, err := w.Write(b.Bytes()); err != nil {
		return err //nolint:wrapcheck // the caller only ends by it
	}
	return out.Flush() //nolint:wrapcheck // likewise
}

// parseTemplates returns each page with the frame around it.
func parseTemplates(files map[string]asset) map[string]*template.Template {
	functions := template.FuncMap{
		"asset": func(name string) string { return "/assets/" + files[name].name },
		"clock": func(t time.Time) string { return t.UTC().Format("2 Jan 15:04 UTC") },
		"wires": func(p picture, side string) wires {
			if side == "in" {
				return wires{p.Width, p.Height, p.In}
			}
			return wires{p.Width, p.Height, p.Out}
		},
		"once":  random,
		"stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
	out := map[string]*template.Template{}
	for _, name := range []string{"status", "login", "claim", "message", "activity", "clients",
		"keys", "maintenance", "messages", "network", "plan", "device", "profile", "setup",
		"resume"} {
		out[name] = template.Must(template.New(name).Funcs(functions).ParseFS(templateFiles,
			"templates/frame.html", "templates/"+name+".html"))
	}
	return out
}

// record writes an action to the log of actions.
func (s *Server) record(r *http.Request, what string, failed error) {
	e := Entry{At: s.config.Now().UTC().Truncate(time.Second), From: sourceOf(r).String(),
		What: what}
	if found := sessionOf(r); found != nil {
		e.Who = found.role
	}
	if failed != nil {
		e.Failed = failed.Error()
	}
	s.audit.write(e)
}

// withSession returns a request that carries a session.
func withSession(r *http.Request, of *session) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), sessionKey{}, of))
}
