package web

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"ztbridge/bridge/api"
	"ztbridge/bridge/history"
	"ztbridge/bridge/web/browsertest"
)

// withPast is a box that remembers.
type withPast struct {
	*box
	points map[string][]api.Point
	past   []api.PastChange
	err    error
	asked  []api.HistoryQuery
}

func (b *withPast) Series(q api.HistoryQuery) ([]api.Point, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, q)
	if b.err != nil {
		return nil, b.err
	}
	points, ok := b.points[q.Name]
	if !ok {
		return nil, api.ErrNotFound
	}
	return points, nil
}

func (b *withPast) PastChanges(api.Span, int) ([]api.PastChange, error) { return b.past, nil }

// The page tells what happened before the daemon started, where the box remembers it.
func TestPastEvents(t *testing.T) {
	of := remembering()
	started := of.Status().Started
	for kind, after := range map[string]time.Duration{"egress": -time.Hour, "problem": -time.Minute,
		"wan": -time.Second, "ingress": time.Second} {
		of.past = append(of.past, api.PastChange{At: started.Add(after), Kind: kind,
			Name: map[string]string{"egress": "provider", "ingress": "ing0"}[kind],
			What: "remembered of " + kind, Cause: "two probes unanswered"})
	}
	_, server := served(t, of)
	v := visit(t, server.URL)
	v.login(viewerPassword)
	_, body := v.ask(http.MethodGet, "/", nil)
	for kind, want := range map[string]bool{"egress": true, "wan": true, "ingress": false,
		"problem": false} {
		if got := strings.Contains(body, "emembered of "+kind); got != want {
			t.Errorf("a change of %s is shown: %t\n%s", kind, got, body)
		}
	}
}

// TestRatesWhileMuchHappens: looks that come one upon the other, as while exits fail, do not keep
// rates from being measured.
func TestRatesWhileMuchHappens(t *testing.T) {
	at := working()
	f := newFeed(nil)
	for range 6 {
		f.take(at)
		at.Time = at.Time.Add(lookWatched / 4)
		at.Egresses = slices.Clone(at.Egresses)
		at.Egresses[0].Counters.BytesIn += 1000
	}
	want := 1000 / (lookWatched / 4).Seconds()
	if got := f.latest().rates[at.Egresses[0].Name].in; got != want {
		t.Errorf("%v bytes a second, want %v", got, want)
	}
}

// remembering is a box whose provider carried the same each minute for an hour, but for one minute
// of which nothing is known, and whose backup was asked for a minute later.
func remembering() *withPast {
	of := &withPast{box: &box{}, points: map[string][]api.Point{}}
	of.set(working())
	first := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	for i := range 61 {
		at := first.Add(time.Duration(i) * time.Minute)
		p := api.Point{At: at, Minutes: 1, BytesIn: 750_000, BytesOut: 75_000, Up: 1, RTT: 0.0184}
		if i == 30 {
			p = api.Point{At: at}
		}
		of.points["provider"] = append(of.points["provider"], p)
		of.points["backup"] = append(of.points["backup"],
			api.Point{At: at.Add(time.Minute), Minutes: 1, Up: 0.5})
	}
	return of
}

func TestCharts(t *testing.T) {
	of := remembering()
	_, server := served(t, of)
	v := visit(t, server.URL)
	v.login(viewerPassword)
	_, body := v.ask(http.MethodGet, "/charts?span=hour", nil)
	var got chart
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if len(got.Times) != 61 || len(got.Exits) != 2 || got.Exits[0].Name != "provider" {
		t.Fatalf("drawn is %s", body)
	}
	for i, lines := range got.Exits {
		for _, list := range [][]*float64{lines.Down, lines.Up, lines.Delay} {
			if len(list) != len(got.Times) {
				t.Errorf("exit %d has %d values for %d times", i, len(list), len(got.Times))
			}
		}
	}
	provider, backup := got.Exits[0], got.Exits[1]
	if *provider.Down[0] != 100_000 || *provider.Up[0] != 10_000 || *provider.Delay[0] != 18.4 {
		t.Errorf("the provider's first minute: %v %v %v", *provider.Down[0], *provider.Up[0],
			*provider.Delay[0])
	}
	if provider.Down[30] != nil || provider.Delay[30] != nil {
		t.Error("a minute of which nothing is known is drawn")
	}
	if backup.Down[0] != nil || *backup.Down[1] != 0 || backup.Delay[1] != nil {
		t.Errorf("the backup: %v %v %v", backup.Down[0], backup.Down[1], backup.Delay[1])
	}
	for _, tt := range []struct{ asked, want string }{{"day", "day"}, {"month", "month"},
		{"year", "hour"}, {"", "hour"}, {"'\"><script>", "hour"}} {
		for _, path := range []string{"/charts", "/"} {
			v.ask(http.MethodGet, path+"?span="+url.QueryEscape(tt.asked), nil)
			if last := of.asked[len(of.asked)-1]; string(last.Span) != tt.want ||
				last.Kind != "egress" {
				t.Errorf("%s of %q asks for %+v", path, tt.asked, last)
			}
		}
	}
}

// TestTableOfThePast says in words what is drawn, or why nothing is.
func TestTableOfThePast(t *testing.T) {
	of := remembering()
	_, server := served(t, of)
	v := visit(t, server.URL)
	v.login(viewerPassword)
	_, body := v.ask(http.MethodGet, "/?span=day", nil)
	for _, want := range []string{`data-span="day"`, `href="/?span=day#charts" aria-current="true"`,
		`<th scope="row">provider</th><td>45.0 MB</td><td>4.5 MB</td><td>110 kbit/s</td>` +
			`<td>18 ms</td><td>100 %</td>`,
		`<th scope="row">backup</th><td>0 B</td><td>0 B</td><td>0</td><td>–</td><td>50 %</td>`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not have %s:\n%s", want, body)
		}
	}
	shows(t, body, `<th scope="row">direct</th>`)
	for err, want := range map[error]string{api.ErrNoHistory: "keeps no history",
		io.ErrUnexpectedEOF: "history cannot be read", api.ErrNotFound: "Nothing is recorded yet"} {
		of.err = err
		_, body := v.ask(http.MethodGet, "/", nil)
		if !strings.Contains(body, want) || strings.Contains(body, "charts.") {
			t.Errorf("%v: the page does not say %q:\n%s", err, want, body)
		}
	}
	of.err = io.ErrUnexpectedEOF
	if response, _ := v.ask(http.MethodGet, "/charts", nil); response.StatusCode != 404 {
		t.Errorf("charts of a history that cannot be read: %d", response.StatusCode)
	}
}

// keeper is a box with the real history.
type keeper struct {
	*box
	*history.Recorder
}

// TestChartsAreDrawn by the real history in a browser, in light and dark, on a phone as well; the
// console complains of nothing, as it would of a style that the policy refuses.
func TestChartsAreDrawn(t *testing.T) {
	t.Parallel()
	of := remembering()
	_, server := served(t, of)
	b := browsertest.New(t, browsertest.Options{})
	b.Login(server.URL, viewerPassword)
	for _, s := range screens {
		b.Do(s.use()...)
		b.Open(server.URL + "/?span=hour")
		b.WaitFor(`document.querySelectorAll("#charts canvas").length === 2`)
		b.WaitFor(`[...document.querySelectorAll("#charts canvas")].every((c) => {
			const dots = c.getContext("2d").getImageData(0, 0, c.width, c.height).data
			return dots.some((v) => v > 0)
		})`)
		b.WaitFor(`document.documentElement.scrollWidth <= innerWidth`)
	}
	if !strings.Contains(b.Text("#charts"), "provider download") {
		t.Errorf("the legend is missing:\n%s", b.Text("#charts"))
	}
	b.Do(chromedp.Click(chromedp.CSS(`a[href*="span=month"]`)))
	b.WaitFor(`document.querySelector("#charts").dataset.span === "month" &&
		document.querySelectorAll("#charts canvas").length === 2`)
	// The live part of the page is made again beside it.
	of.set(onBackup())
	b.WaitFor(`document.querySelector(".verdict.is-warn") &&
		document.querySelectorAll("#charts canvas").length === 2`)
}

// TestRealHistoryIsShown of a box that has just begun to remember.
func TestRealHistoryIsShown(t *testing.T) {
	of := keeper{&box{}, history.NewRecorder(filepath.Join(t.TempDir(), "state"),
		slog.New(slog.DiscardHandler))}
	of.set(working())
	_, server := served(t, of)
	v := visit(t, server.URL)
	v.login(viewerPassword)
	if _, body := v.ask(http.MethodGet, "/", nil); !strings.Contains(body, "history: true") {
		t.Errorf("without a history:\n%s", body)
	}
	of.Keep(true)
	go of.Run(t.Context(), of.Status, of.Changes(t.Context()))
	of.set(working())
	for range 500 {
		_, body := v.ask(http.MethodGet, "/charts", nil)
		var got chart
		if json.Unmarshal([]byte(body), &got) == nil && slices.ContainsFunc(got.Exits,
			func(l chartLines) bool { return l.Name == "provider" }) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the provider never came into the history")
}
