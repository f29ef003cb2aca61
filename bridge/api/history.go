package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// HistoryBackend is what a Backend offers besides where it remembers.
type HistoryBackend interface {
	// Series returns what one egress or ingress carried, oldest first, one point for each step of
	// the span, those without a record included. ErrNoHistory: nothing is remembered. ErrNotFound:
	// nothing is known of that one.
	Series(q HistoryQuery) ([]Point, error)
	// PastChanges returns the changes of a span, newest first, at most limit.
	PastChanges(span Span, limit int) ([]PastChange, error)
}

// ErrNoHistory reports that this box remembers nothing.
var ErrNoHistory = &HintedError{Err: errors.New("this box keeps no history"),
	Hint: "write `history: true` into the configuration, and reload"}

// Span is a part of the past, up to now.
type Span string

// The spans.
const (
	LastHour  Span = "hour"
	LastDay   Span = "day"
	LastMonth Span = "month"
	LastYear  Span = "year"
)

// Spans are all spans, shortest first.
var Spans = []Span{LastHour, LastDay, LastMonth, LastYear}

// Length returns how long a span is and the time between two points of its series; zero if there is
// no such span.
func (s Span) Length() (whole, step time.Duration) {
	const day = 24 * time.Hour
	switch s {
	case LastHour:
		return time.Hour, time.Minute
	case LastDay:
		return day, 10 * time.Minute
	case LastMonth:
		return 30 * day, 3 * time.Hour
	case LastYear:
		return 365 * day, 2 * day
	default:
		return 0, 0
	}
}

// HistoryQuery asks for one series.
type HistoryQuery struct {
	Kind string `json:"kind"` // "egress" or "ingress"
	Name string `json:"name"`
	Span Span   `json:"span"`
}

// Point is what happened in one step of a series.
type Point struct {
	At       time.Time `json:"at"`        // its beginning
	Minutes  int       `json:"minutes"`   // of it that are recorded; 0: nothing is known
	BytesIn  uint64    `json:"bytes_in"`  // in these minutes
	BytesOut uint64    `json:"bytes_out"` // in these minutes
	Up       float64   `json:"up"`        // share of the minutes in which it was usable
	RTT      float64   `json:"rtt_seconds"`
	Loss     float64   `json:"loss"`
}

// PastChange is a change of a state.
type PastChange struct {
	At time.Time `json:"at"`
	// Kind is "box", "wan", "egress", "ingress", "policy", "problem"; Name is empty for the first
	// two.
	Kind  string `json:"kind"`
	Name  string `json:"name,omitempty"`
	What  string `json:"what"` // "up → degraded"
	Cause string `json:"cause,omitempty"`
}

const maxChanges = 1000

// history adds the routes about the past.
func (s *Server) history(mux *http.ServeMux) {
	past, _ := s.backend.(HistoryBackend)
	mux.HandleFunc("GET /v1/history/series", func(w http.ResponseWriter, r *http.Request) {
		v := r.URL.Query()
		q := HistoryQuery{Kind: v.Get("kind"), Name: v.Get("name"), Span: Span(v.Get("span"))}
		s.answerHistory(w, past, q.Span, func() (any, error) { return past.Series(q) })
	})
	mux.HandleFunc("GET /v1/history/changes", func(w http.ResponseWriter, r *http.Request) {
		v := r.URL.Query()
		limit, err := strconv.Atoi(v.Get("limit"))
		if err != nil || limit < 1 {
			limit = maxChanges
		}
		span := Span(v.Get("span"))
		s.answerHistory(w, past, span, func() (any, error) {
			return past.PastChanges(span, min(limit, maxChanges))
		})
	})
}

func (s *Server) answerHistory(w http.ResponseWriter, past HistoryBackend, span Span,
	ask func() (any, error)) {
	if whole, _ := span.Length(); whole == 0 {
		s.refuse(w, http.StatusBadRequest, errors.New("span must be hour, day, month or year"))
		return
	}
	var answer any
	err := error(ErrNoHistory)
	if past != nil {
		answer, err = ask()
	}
	s.reply(w, answer, err)
}

// Series asks what an egress or ingress carried.
func (c *Conn) Series(ctx context.Context, q HistoryQuery) ([]Point, error) {
	v := url.Values{"kind": {q.Kind}, "name": {q.Name}, "span": {string(q.Span)}}
	var out []Point
	return out, c.call(ctx, http.MethodGet, "/v1/history/series?"+v.Encode(), nil, &out)
}

// PastChanges asks what changed, newest first.
func (c *Conn) PastChanges(ctx context.Context, span Span, limit int) ([]PastChange, error) {
	v := url.Values{"span": {string(span)}, "limit": {strconv.Itoa(limit)}}
	var out []PastChange
	return out, c.call(ctx, http.MethodGet, "/v1/history/changes?"+v.Encode(), nil, &out)
}
