package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"ztbridge/bridge/api"
)

// pastView is what the status page shows of the past: a table, and places for drawings of the same.
type pastView struct {
	Span  api.Span
	Spans []spanView
	Rows  []pastRow
	Why   string // there is nothing to show; empty: there is
}

type spanView struct {
	Span  api.Span
	Title string
}

// pastRow tells what one exit did in a span.
type pastRow struct{ Name, Down, Up, Peak, Delay, Usable string }

// shownSpans are those that can be chosen.
var shownSpans = []spanView{{api.LastHour, "Hour"}, {api.LastDay, "Day"}, {api.LastMonth, "Month"}}

// chart is what is drawn. Each list has a value for each time, null where nothing is recorded.
type chart struct {
	Times []int64      `json:"times"` // seconds since 1970
	Exits []chartLines `json:"exits"`
}

// chartLines are the lines of an exit: bits a second, and milliseconds.
type chartLines struct {
	Name  string     `json:"name"`
	Down  []*float64 `json:"down"`
	Up    []*float64 `json:"up"`
	Delay []*float64 `json:"delay"`
}

// past is the recorded past of one exit.
type past struct {
	name   string
	points []api.Point
}

// spanOf returns the span that a request asks for; the last hour if it asks for none that is shown.
func spanOf(r *http.Request) api.Span {
	for _, s := range shownSpans {
		if string(s.Span) == r.URL.Query().Get("span") {
			return s.Span
		}
	}
	return api.LastHour
}

// pastOf returns what the exits did in a span. Those of which nothing is known are left out.
func (s *Server) pastOf(span api.Span) ([]past, error) {
	backend, ok := s.config.Backend.(api.HistoryBackend)
	if !ok {
		return nil, api.ErrNoHistory
	}
	var out []past
	for _, e := range s.config.Backend.Status().Egresses {
		points, err := backend.Series(api.HistoryQuery{Kind: "egress", Name: e.Name, Span: span})
		if errors.Is(err, api.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the history of %s: %w", e.Name, err)
		}
		out = append(out, past{e.Name, points})
	}
	return out, nil
}

// charts answers with what is drawn.
func (s *Server) charts(w http.ResponseWriter, r *http.Request) {
	list, err := s.pastOf(spanOf(r))
	if err != nil {
		s.config.Log.Debug("no charts", "error", err)
		http.Error(w, "There is no history.", http.StatusNotFound)
		return
	}
	out := chart{Times: []int64{}, Exits: []chartLines{}}
	for _, one := range list {
		out.add(one)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // a browser that went away misses nothing
}

// add adds the lines of an exit. Exits that were asked for at different minutes are aligned by the
// first one's times.
func (c *chart) add(p past) {
	if len(c.Times) == 0 {
		for _, point := range p.points {
			c.Times = append(c.Times, point.At.Unix())
		}
	}
	byTime := map[int64]api.Point{}
	for _, point := range p.points {
		byTime[point.At.Unix()] = point
	}
	lines := chartLines{Name: p.name}
	for _, at := range c.Times {
		point := byTime[at]
		var down, up, delay *float64
		if seconds := float64(point.Minutes * 60); seconds > 0 {
			down = rounded(float64(point.BytesIn) * 8 / seconds)
			up = rounded(float64(point.BytesOut) * 8 / seconds)
		}
		if point.RTT > 0 {
			delay = rounded(point.RTT * 1000)
		}
		lines.Down, lines.Up = append(lines.Down, down), append(lines.Up, up)
		lines.Delay = append(lines.Delay, delay)
	}
	c.Exits = append(c.Exits, lines)
}

func rounded(v float64) *float64 {
	v = float64(int64(v*10+0.5)) / 10
	return &v
}

// pastView makes the table of a span.
func (s *Server) pastView(span api.Span) *pastView {
	v := &pastView{Span: span, Spans: shownSpans}
	list, err := s.pastOf(span)
	switch {
	case errors.Is(err, api.ErrNoHistory):
		v.Why = "This box keeps no history: " + api.Hint(err) + "."
	case err != nil:
		s.config.Log.Warn("the past cannot be shown", "error", err)
		v.Why = "The history cannot be read. See the log: journalctl -u ztbridge"
	case len(list) == 0:
		v.Why = "Nothing is recorded yet. The first minute comes soon."
	}
	for _, one := range list {
		v.Rows = append(v.Rows, rowOf(one))
	}
	return v
}

func rowOf(p past) pastRow {
	var down, up uint64
	var minutes, answered int
	var delay, usable, peak float64
	for _, point := range p.points {
		down, up, minutes = down+point.BytesIn, up+point.BytesOut, minutes+point.Minutes
		usable += point.Up * float64(point.Minutes)
		if point.RTT > 0 {
			answered++
			delay += point.RTT
		}
		if point.Minutes > 0 {
			peak = max(peak, float64(point.BytesIn+point.BytesOut)/float64(point.Minutes*60))
		}
	}
	row := pastRow{Name: p.name, Down: volume(down), Up: volume(up), Peak: perSecond(peak),
		Delay: "–", Usable: "–"}
	if answered > 0 {
		row.Delay = fmt.Sprintf("%.0f ms", delay/float64(answered)*1000)
	}
	if minutes > 0 {
		row.Usable = fmt.Sprintf("%.0f %%", usable/float64(minutes)*100)
	}
	return row
}

// volume writes an amount of bytes as data plans are sold.
func volume(bytes uint64) string {
	value, units := float64(bytes), []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for value >= 1000 && i < len(units)-1 {
		value, i = value/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[i])
}
