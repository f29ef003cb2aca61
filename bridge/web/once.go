package web

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"
)

const (
	// maxAnswers bounds how many forms are remembered, maxAnswer the bytes of an answer, and
	// keepAnswer for how long.
	maxAnswers = 32
	maxAnswer  = 256 << 10
	keepAnswer = 10 * time.Minute
)

// sentForms are the answers to forms, by session and form. Safe for concurrent use.
type sentForms struct {
	mu sync.Mutex
	of map[string]*answer
}

// answer is what a form got.
type answer struct {
	done   chan struct{} // closed when the form has its answer
	at     time.Time     // when it was sent
	code   int           // 0: it came to nothing, and may be sent again
	header http.Header
	body   []byte
}

// enter returns the answer to a form, and whether its sender is the first, who must call leave.
func (a *sentForms) enter(key string, now time.Time) (of *answer, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if of = a.of[key]; of != nil {
		return of, false
	}
	maps.DeleteFunc(a.of, func(_ string, old *answer) bool { return now.Sub(old.at) > keepAnswer })
	if a.of == nil {
		a.of = map[string]*answer{}
	}
	of = &answer{done: make(chan struct{}), at: now}
	if len(a.of) < maxAnswers { // else it is answered again each time
		a.of[key] = of
	}
	return of, true
}

// leave keeps an answer that is no error, and lets those go on who wait for it.
func (a *sentForms) leave(key string, of *answer, got *recorder) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if got.code/100 == 2 || got.code/100 == 3 {
		of.code, of.header, of.body = got.code, got.Header().Clone(), got.body.Bytes()
	} else if a.of[key] == of {
		delete(a.of, key)
	}
	close(of.done)
}

// recorder passes an answer on and keeps it.
type recorder struct {
	http.ResponseWriter
	code int
	body bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	if r.body.Len()+len(b) <= maxAnswer {
		r.body.Write(b)
	}
	return r.ResponseWriter.Write(b) //nolint:wrapcheck // the caller wraps it
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// once carries a form out once. When it comes a second time, by a click before the page's script
// runs or by a reload, it waits for the first one and gives the same answer. A form that came to
// nothing is carried out again.
func (s *Server) once(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		form := r.URL.Query().Get("form")
		if form == "" || len(form) > 2*len(sessionOf(r).token) {
			next(w, r)
			return
		}
		key := sessionOf(r).token + " " + form
		for {
			of, first := s.sent.enter(key, s.config.Now())
			if first {
				got := &recorder{ResponseWriter: w}
				defer s.sent.leave(key, of, got) // also where the handler panics
				next(got, r)
				return
			}
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(keepAnswer))
			select {
			case <-of.done:
			case <-r.Context().Done():
				return
			}
			if of.code != 0 {
				// A browser reads no answer before it has sent all.
				_, _ = io.Copy(io.Discard, r.Body)
				maps.Copy(w.Header(), of.header)
				w.WriteHeader(of.code)
				_, _ = w.Write(of.body) // a browser that went away misses nothing
				return
			}
		}
	}
}
