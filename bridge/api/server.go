package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// SocketName is the socket's name in the runtime directory.
	SocketName = "ztbridge.sock"
	// Group may use the socket besides root, when it exists.
	Group = "ztbridge"

	// headerTimeout keeps silent connections from piling up. There is no timeout on the whole
	// request: it would end the streams.
	headerTimeout = 5 * time.Second
	shutdownTime  = 2 * time.Second
	maxBody       = 64 << 10
	// heartbeat is the longest silence of a stream, so that times on a watching screen move.
	heartbeat = 5 * time.Second
)

// Server answers on a unix socket. Who may open the socket's file may do all that it offers.
type Server struct {
	backend Backend
	log     *slog.Logger
}

// NewServer returns a server for backend.
func NewServer(backend Backend, log *slog.Logger) *Server {
	return &Server{backend: backend, log: log}
}

// Run serves on the socket at path until ctx ends, and removes it. A socket that a dead daemon left
// behind is replaced; one that answers is an error.
func (s *Server) Run(ctx context.Context, path string) error {
	listener, err := listen(ctx, path)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", path, err)
	case <-ctx.Done():
	}
	// ctx is over: streams end by it, and running requests get a moment.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		err = srv.Close()
		s.log.Debug("closing connections that did not end", "error", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		s.log.Debug("serving ended", "error", err)
	}
	return nil
}

// listen binds the socket under another name, sets owner and mode, and only then gives it its name:
// there is no moment at which it is open to all.
func listen(ctx context.Context, path string) (net.Listener, error) {
	dial, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if conn, err := (&net.Dialer{}).DialContext(dial, "unix", path); err == nil {
		_ = conn.Close() // nothing was said on it
		return nil, &HintedError{
			Err:  fmt.Errorf("listening on %s: another ztbridge is running", path),
			Hint: "stop it, or give this one its own --runtime-dir",
		}
	}
	draft := path + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing a left-over socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", draft)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	unlinking := listener.(*net.UnixListener)
	unlinking.SetUnlinkOnClose(false)
	if err = restrict(draft); err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s to its users: %w", path, err),
			listener.Close())
	}
	return &namedListener{unlinking, path}, nil
}

// restrict gives the socket to root alone, or to root and the group where there is one.
func restrict(path string) error {
	group, err := user.LookupGroup(Group)
	if err != nil {
		return os.Chmod(path, 0o600)
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return fmt.Errorf("reading the id of group %s: %w", Group, err)
	}
	if err := os.Chown(path, -1, gid); err != nil {
		if errors.Is(err, os.ErrPermission) { // not root, as in a test: the group has to do without
			return os.Chmod(path, 0o600)
		}
		return err
	}
	return os.Chmod(path, 0o660)
}

// namedListener removes the socket by its final name.
type namedListener struct {
	*net.UnixListener
	path string
}

// Close removes the socket's file first, so that nobody connects to what is about to end.
func (l *namedListener) Close() error {
	removed := os.Remove(l.path)
	if errors.Is(removed, os.ErrNotExist) {
		removed = nil
	}
	return errors.Join(removed, l.UnixListener.Close())
}

// Handler returns the routes.
func (s *Server) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(s.backend.Status))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/plan", s.plan)
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("POST /v1/egress/use", s.use)
	mux.HandleFunc("POST /v1/egress/reset", s.do(Backend.Reset))
	mux.HandleFunc("POST /v1/reload", s.do(Backend.Reload))
	mux.HandleFunc("DELETE /v1/reload", s.do(Backend.ForgetReload))
	s.clients(mux)
	s.history(mux)
	s.devices(mux)
	s.notify(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	of := r.URL.Query().Get("of")
	if of == "" {
		s.answer(w, s.backend.Status().Filled())
		return
	}
	addr, err := netip.ParseAddr(of)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, &HintedError{
			Err:  fmt.Errorf("%q is not an address", of),
			Hint: "give a member's address, such as 10.147.17.50",
		})
		return
	}
	explanation, err := s.backend.Explain(addr)
	explanation.Steps = list(explanation.Steps)
	s.reply(w, explanation, err)
}

// planAnswer is the answer to GET /v1/plan.
type planAnswer struct {
	Plan string `json:"plan"`
}

func (s *Server) plan(w http.ResponseWriter, r *http.Request) {
	plan, err := s.backend.Plan(r.Context())
	s.reply(w, planAnswer{plan}, err)
}

// events sends the status at once, then whenever it changes, one JSON value a line.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	changes := s.backend.Changes(r.Context())
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	encoder := json.NewEncoder(w)
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		if err := encoder.Encode(s.backend.Status().Filled()); err != nil {
			return // the client went away
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changes:
		case <-tick.C:
		}
	}
}

// useRequest is the body of POST /v1/egress/use.
type useRequest struct {
	Egress string `json:"egress"`
}

func (s *Server) use(w http.ResponseWriter, r *http.Request) {
	var request useRequest
	if !readBody(w, r, &request) || request.Egress == "" {
		s.refuse(w, http.StatusBadRequest, errors.New(`the body must be {"egress": NAME}`))
		return
	}
	s.do(func(b Backend, ctx context.Context) error { return b.Use(ctx, request.Egress) })(w, r)
}

func (s *Server) do(act func(Backend, context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// A person who lets go of the key in between has still asked for it.
		s.reply(w, struct{}{}, act(s.backend, context.WithoutCancel(r.Context())))
	}
}

// readBody reads the JSON of a request into a value, and reports whether it is of its shape.
func readBody(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into) == nil
}

// reply answers with what was asked for, or refuses for an error.
func (s *Server) reply(w http.ResponseWriter, body any, err error) {
	switch {
	case err == nil:
		s.answer(w, body)
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrNoHistory), errors.Is(err, ErrNobodyTold):
		s.refuse(w, http.StatusNotFound, err)
	case errors.Is(err, ErrTestsTooOften):
		s.refuse(w, http.StatusTooManyRequests, err)
	default:
		s.refuse(w, http.StatusInternalServerError, err)
	}
}

func (s *Server) answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.log.Debug("answering on the socket", "error", err)
	}
}

// refusal is the body of every answer that is not 200.
type refusal struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

func (s *Server) refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(refusal{err.Error(), Hint(err)}); err != nil {
		s.log.Debug("answering on the socket", "error", err)
	}
}
