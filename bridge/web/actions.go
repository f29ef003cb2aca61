package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"ztbridge/bridge/api"
)

// act carries out an action of the owner's, records it, and goes back to the status page. describe
// names it in the log of actions.
func (s *Server) act(describe func(*http.Request) string,
	do func(context.Context, *http.Request) error) http.HandlerFunc {
	return s.form(func(w http.ResponseWriter, r *http.Request) {
		// Whoever closes the page in between has still asked for it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), api.Timeout)
		defer cancel()
		err := do(ctx, r)
		s.record(r, describe(r), err)
		if err != nil {
			code := http.StatusInternalServerError
			if errors.Is(err, api.ErrNotFound) {
				code = http.StatusNotFound
			}
			s.refuse(w, r, code, "That did not work: "+err.Error(), sentence(api.Hint(err)))
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
}

// always describes an action that has no object.
func always(text string) func(*http.Request) string {
	return func(*http.Request) string { return text }
}

// routeActions adds what an owner may do.
func (s *Server) routeActions(mux *http.ServeMux) {
	backend := s.config.Backend
	mux.HandleFunc("POST /exits/use", s.act(
		func(r *http.Request) string {
			return fmt.Sprintf("select the exit %.60q", r.PostFormValue("exit"))
		},
		func(ctx context.Context, r *http.Request) error {
			return backend.Use(ctx, r.PostFormValue("exit"))
		}))
	mux.HandleFunc("POST /exits/reset", s.act(always("follow the order of the rules again"),
		func(ctx context.Context, _ *http.Request) error { return backend.Reset(ctx) }))
	mux.HandleFunc("POST /reload", s.act(always("read the configuration and try all tunnels again"),
		func(ctx context.Context, _ *http.Request) error { return backend.Reload(ctx) }))
	mux.HandleFunc("POST /reload/keep", s.act(always("keep the running configuration"),
		func(ctx context.Context, _ *http.Request) error { return backend.ForgetReload(ctx) }))
	mux.HandleFunc("POST /clients/disconnect", s.act(
		func(r *http.Request) string {
			return fmt.Sprintf("disconnect the client %.60q", r.PostFormValue("client"))
		},
		func(ctx context.Context, r *http.Request) error {
			clients, ok := backend.(api.EndpointBackend)
			if !ok {
				return api.ErrNoEndpoint
			}
			_, err := clients.Disconnect(ctx, r.PostFormValue("client"))
			return err
		}))
}
