package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// EndpointBackend is what a Backend offers besides where it runs the endpoint. A Backend without it
// refuses these requests.
type EndpointBackend interface {
	// Disconnect ends the sessions of a client and returns how many there were. The client may come
	// back. ErrNotFound: there is no such client.
	Disconnect(ctx context.Context, client string) (sessions int, err error)
	// Link opens a one-time link to the client's profile; an earlier one of the same client ends.
	// ErrNotFound: there is no such client.
	Link(ctx context.Context, r LinkRequest) (Link, error)
}

// LinkRequest asks for a one-time link to the profile of a client.
type LinkRequest struct {
	Client string `json:"client"`
	TCP    bool   `json:"tcp,omitempty"` // leaves UDP out of the profile
}

// Link is a one-time link to a profile.
type Link struct {
	URL     string    `json:"url"`    // for a browser
	Import  string    `json:"import"` // for the OpenVPN Connect app
	Expires time.Time `json:"expires"`
	// Fingerprint is the SHA-256 of the server's certificate where nobody vouches for it, in
	// hexadecimal.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// disconnectAnswer is the answer to POST /v1/client/disconnect.
type disconnectAnswer struct {
	Sessions int `json:"sessions"`
}

// ErrNoEndpoint refuses what only an endpoint can do, and says how to have one.
var ErrNoEndpoint = &HintedError{
	Err:  errors.New("this box runs no endpoint"),
	Hint: "add an `endpoint:` section to the configuration",
}

// clients adds the routes about the endpoint's clients.
func (s *Server) clients(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/client/disconnect",
		s.client(func(b EndpointBackend, ctx context.Context, r LinkRequest) (any, error) {
			n, err := b.Disconnect(ctx, r.Client)
			return disconnectAnswer{n}, err
		}))
	mux.HandleFunc("POST /v1/client/link",
		s.client(func(b EndpointBackend, ctx context.Context, r LinkRequest) (any, error) {
			return b.Link(ctx, r)
		}))
}

// client serves a request about a client. Its body is a LinkRequest for each of them.
func (s *Server) client(act func(EndpointBackend, context.Context,
	LinkRequest) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request LinkRequest
		if !readBody(w, r, &request) || request.Client == "" {
			s.refuse(w, http.StatusBadRequest, errors.New(`the body must be {"client": NAME}`))
			return
		}
		backend, ok := s.backend.(EndpointBackend)
		if !ok {
			s.refuse(w, http.StatusInternalServerError, ErrNoEndpoint)
			return
		}
		answer, err := act(backend, context.WithoutCancel(r.Context()), request)
		s.reply(w, answer, err)
	}
}

// Disconnect ends the sessions of a client of the endpoint and returns how many there were.
func (c *Conn) Disconnect(ctx context.Context, client string) (sessions int, err error) {
	var a disconnectAnswer
	if err := c.call(ctx, http.MethodPost, "/v1/client/disconnect", LinkRequest{Client: client},
		&a); err != nil {
		return 0, fmt.Errorf("disconnecting %s: %w", client, err)
	}
	return a.Sessions, nil
}

// Link opens a one-time link to the profile of a client of the endpoint.
func (c *Conn) Link(ctx context.Context, r LinkRequest) (Link, error) {
	var l Link
	if err := c.call(ctx, http.MethodPost, "/v1/client/link", r, &l); err != nil {
		return Link{}, fmt.Errorf("asking for a link to the profile of %s: %w", r.Client, err)
	}
	return l, nil
}
