package api

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// NotifyBackend is what a Backend offers besides where it tells people by itself. A Backend without
// it refuses these requests.
type NotifyBackend interface {
	// NotifyTest sends a test message to the sender of that name, or to all without a name, and
	// returns what came of it; it blocks until then. ErrNotFound: there is no such sender.
	// ErrNobodyTold: there is none. ErrTestsTooOften: nothing was sent.
	NotifyTest(ctx context.Context, name string) ([]Delivery, error)
}

// Delivery is what came of one message to one sender.
type Delivery struct {
	Name    string   `json:"name"` // "webhook", "ntfy", "telegram", "email"
	By      []string `json:"by"`   // the paths that it may leave by, in order
	Seconds float64  `json:"seconds"`
	Error   string   `json:"error,omitempty"` // empty: it was delivered
	Hint    string   `json:"hint,omitempty"`
}

// ErrNobodyTold refuses a test where nobody is to be told, and says how to change that.
var ErrNobodyTold = &HintedError{
	Err:  errors.New("this box tells nobody"),
	Hint: "add a `notify:` section to the configuration, then: ztbridge reload",
}

// ErrTestsTooOften refuses a test message that comes too soon after others.
var ErrTestsTooOften = &HintedError{Err: errors.New("too many test messages were sent just now"),
	Hint: "wait a minute, then try again"}

// TestTimeout is how long test messages may take: each one tries several paths.
const TestTimeout = time.Minute

// notifyRequest is the body of POST /v1/notify/test.
type notifyRequest struct {
	Name string `json:"name,omitempty"`
}

// notify adds the route that tries messages.
func (s *Server) notify(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/notify/test", func(w http.ResponseWriter, r *http.Request) {
		var request notifyRequest
		if !readBody(w, r, &request) {
			s.refuse(w, http.StatusBadRequest, errors.New(`the body must be {"name": NAME}`))
			return
		}
		backend, ok := s.backend.(NotifyBackend)
		if !ok {
			s.reply(w, nil, ErrNobodyTold)
			return
		}
		deliveries, err := backend.NotifyTest(r.Context(), request.Name)
		s.reply(w, deliveries, err)
	})
}

// NotifyTest sends a test message, as NotifyBackend says.
func (c *Conn) NotifyTest(ctx context.Context, name string) ([]Delivery, error) {
	var out []Delivery
	return out, c.callWithin(ctx, TestTimeout, http.MethodPost, "/v1/notify/test",
		notifyRequest{name}, &out)
}
