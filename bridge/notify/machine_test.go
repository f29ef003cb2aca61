package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

var allKinds = []Kind{Down, Change, Error, Update, Disk}

// day is the first moment of each test.
var day = time.Date(2026, 5, 4, 2, 0, 0, 0, time.UTC)

// bench is a box with one sender, whose clock the test turns.
type bench struct {
	t        *testing.T
	now      Moment
	status   api.Status
	settings Settings
	m        *Machine
	broken   error // why the sender fails; nil: it delivers
	attempts []time.Duration
	sent     []Message
	at       []time.Duration
}

func newBench(t *testing.T) *bench {
	w := &bench{t: t, now: Moment{Wall: day}, m: NewMachine(),
		settings: Settings{Kinds: allKinds, DownAfter: 5 * time.Minute}}
	w.status = api.Status{State: api.Working, Time: day,
		Egresses: []api.Egress{{Name: "provider", State: "up", Usable: true},
			{Name: "backup", State: "up", Usable: true}},
		Policies: []api.Policy{{Name: "policy[0]", From: []string{"zerotier"},
			Wanted: []string{"provider", "backup"}, Egress: "provider", Why: "first choice"}}}
	w.m.SetSenders([]string{"ntfy"})
	return w
}

// run lets time pass in steps of ten seconds.
func (w *bench) run(d time.Duration) {
	w.t.Helper()
	for end := w.now.Elapsed + d; w.now.Elapsed < end; {
		w.now.Elapsed += look
		w.now.Wall = w.now.Wall.Add(look)
		w.step()
	}
}

func (w *bench) step() {
	w.status.Time = w.now.Wall
	w.m.Step(w.now, w.status, w.settings)
	box := w.m.Outboxes["ntfy"]
	events, _ := box.due(w.now, w.m.unsure)
	if len(events) == 0 {
		return
	}
	m := box.compose(w.now, "box", events)
	w.attempts = append(w.attempts, w.now.Elapsed)
	if w.broken != nil {
		box.failed(w.now, w.broken, 0)
		return
	}
	w.sent, w.at = append(w.sent, m), append(w.at, w.now.Elapsed)
	var numbers []int
	for _, p := range events {
		numbers = append(numbers, p.Number)
	}
	box.delivered(w.now, numbers)
}

// restart writes the machine down and reads it back, as another process does.
func (w *bench) restart() {
	w.t.Helper()
	text, err := json.Marshal(w.m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = NewMachine()
	if err := json.Unmarshal(text, w.m); err != nil {
		w.t.Fatal(err)
	}
	w.m.filled()
	w.now.Elapsed = w.m.Last.Elapsed
}

// provider puts the first egress, and the rule's traffic, into a state.
func (w *bench) provider(up bool) {
	e, p := &w.status.Egresses[0], &w.status.Policies[0]
	if up {
		e.State, e.Usable, p.Egress, p.Why = "up", true, "provider", "first choice"
	} else {
		e.State, e.Usable, p.Egress, p.Why = "reconnecting", false, "backup", "provider is down"
	}
}

func (w *bench) problem(c ...api.Condition) { w.status.Conditions = c }

// titles returns what was sent since the last call.
func (w *bench) titles() string {
	var out []string
	for _, m := range w.sent {
		for _, e := range m.Events {
			out = append(out, fmt.Sprint(e.Kind, " ", e.State, " ", e.Subject+e.To+string(e.Code)))
		}
	}
	w.sent = nil
	return strings.Join(out, "; ")
}

func (w *bench) want(what, want string) {
	w.t.Helper()
	if got := w.titles(); got != want {
		w.t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

func TestDownIsToldOnceAndItsEnd(t *testing.T) {
	w := newBench(t)
	w.run(time.Hour)
	w.want("all well", "")
	w.provider(false)
	w.run(20 * time.Second)
	w.provider(true)
	w.run(time.Hour)
	w.want("down for 20 s", "")
	w.provider(false)
	w.run(5*time.Minute - look)
	w.want("down for nearly 5 minutes", "change changed zerotierbackup")
	w.run(time.Minute)
	w.want("down for 5 minutes", "down began provider")
	w.run(24 * time.Hour)
	w.want("down for a day", "")
	w.provider(true)
	w.run(40 * time.Second)
	w.want("up for 40 s", "")
	w.run(10 * time.Minute)
	w.want("up again", "down ended provider; change changed zerotierprovider")
	w.run(24 * time.Hour)
	w.want("well for a day", "")
}

// What happened while nothing could be delivered is told in one message, and says how it is now.
func TestOutageOfTheLineIsToldAfterwards(t *testing.T) {
	w := newBench(t)
	w.run(time.Minute)
	w.provider(false)
	w.problem(api.Condition{Code: health.WANDown, Severity: health.Error, Message: "no route"})
	w.status.Policies[0].Egress = ""
	w.broken = ErrPathDown
	w.run(3 * time.Hour)
	if n := len(w.attempts); n > 14 {
		t.Errorf("%d attempts in 3 hours", n)
	}
	w.broken = nil
	w.provider(true)
	w.problem()
	w.m.Outboxes["ntfy"].RetryAt = 0 // as when the paths change
	w.run(50 * time.Second)
	for _, m := range w.sent {
		if strings.Contains(m.Text, "is down since") {
			t.Errorf("told of what is over: %s", m.Text)
		}
	}
	w.run(2 * time.Hour)
	if len(w.sent) != 1 {
		t.Errorf("%d messages: %+v", len(w.sent), w.sent)
	}
	if text := w.sent[0].Text; !strings.Contains(text,
		"provider was down from May 4 02:01 UTC to May 4 05:01 UTC, and is up again") {
		t.Error(text)
	}
	w.want("after the outage",
		"change passed zerotierprovider; error passed wan-down; down passed provider")
}

// Whatever flaps, however fast, for however long: few messages, never more than the ceiling, and in
// the end people know how it is.
func TestFlappingForADay(t *testing.T) {
	for _, beat := range []struct{ down, up time.Duration }{
		{10 * time.Second, 10 * time.Second}, {time.Minute, 40 * time.Second},
		{6 * time.Minute, 30 * time.Second}, {6 * time.Minute, 2 * time.Minute},
		{10 * time.Minute, 10 * time.Minute}, {6 * time.Minute, 40 * time.Minute},
		{time.Hour, time.Hour},
	} {
		w := newBench(t)
		w.run(time.Minute)
		for w.now.Elapsed < 24*time.Hour {
			w.provider(false)
			w.run(beat.down)
			w.provider(true)
			w.run(beat.up)
		}
		told := len(w.sent)
		w.run(3 * time.Hour)
		last := map[Kind]Event{}
		for _, m := range w.sent {
			for _, e := range m.Events {
				last[e.Kind] = e
			}
		}
		if e, any := last[Down]; any && e.State != Ended && e.State != Passed {
			t.Errorf("%v: people believe that it is down: %+v", beat, e)
		}
		if e, any := last[Change]; any && e.To != "provider" {
			t.Errorf("%v: people believe that traffic leaves by %s", beat, e.To)
		}
		if cycles := int(24 * time.Hour / (beat.down + beat.up)); told > 30 && told > 4*cycles {
			t.Errorf("%v: %d messages", beat, told)
		}
		if told > 100 {
			t.Errorf("%v: %d messages", beat, told)
		}
		w.checkCeiling()
		t.Logf("%v: %d messages in a day", beat, told)
	}
}

// checkCeiling fails if any hour had more messages than it may have.
func (w *bench) checkCeiling() {
	w.t.Helper()
	for i := range w.at {
		if j := i + maxPerHour; j < len(w.at) && w.at[j]-w.at[i] < time.Hour {
			w.t.Errorf("%d messages between %v and %v", maxPerHour+1, w.at[i], w.at[j])
		}
	}
}

// A new problem every half minute for hours: the ceiling holds, over restarts too, the last message
// says so, and what was not told follows.
func TestCeiling(t *testing.T) {
	w := newBench(t)
	w.run(time.Minute)
	var all []api.Condition
	for i := range 400 {
		all = append(all, api.Condition{Code: health.ListenerFailed, Severity: health.Error,
			Subject: fmt.Sprintf("tcp/%d", i), Message: "in use"})
		w.problem(all...)
		w.run(30 * time.Second)
		if i%7 == 0 {
			w.restart()
			w.m.SetSenders([]string{"ntfy"})
		}
	}
	w.run(3 * time.Hour)
	w.checkCeiling()
	told := map[string]int{}
	last := 0
	for _, m := range w.sent {
		for _, e := range m.Events {
			told[e.Subject]++
		}
		if strings.Contains(m.Text, "This is the last message until") {
			last++
		}
	}
	for _, c := range all {
		if told[c.Subject] != 1 {
			t.Errorf("%s was told %d times", c.Subject, told[c.Subject])
		}
	}
	if last == 0 {
		t.Error("no message says that it is the last")
	}
}

func TestRestartRepeatsNothing(t *testing.T) {
	w := newBench(t)
	w.run(time.Minute)
	w.provider(false)
	w.run(10 * time.Minute)
	w.want("down", "change changed zerotierbackup; down began provider")
	for range 50 {
		w.restart()
		up := w.status
		w.status = api.Status{State: api.Starting}
		w.step()
		w.status = up
		w.status.Policies[0].Egress = "" // until the tunnels are up
		w.run(10 * time.Second)
		w.status.Policies[0].Egress = "backup"
		w.run(2 * time.Minute)
	}
	w.want("50 restarts while it is down", "")
	w.restart()
	w.provider(true)
	w.run(time.Hour)
	w.want("up after a restart", "down ended provider; change changed zerotierprovider")
	for range 50 {
		w.restart()
		w.provider(false)
		w.run(20 * time.Second)
		w.provider(true)
		w.run(2 * time.Minute)
	}
	w.want("50 restarts while it is well", "")
}

// A clock that is set, forward, back or by years, changes no duration and repeats nothing; times
// that were noted before it was right are corrected.
func TestClockJumps(t *testing.T) {
	for _, by := range []time.Duration{50 * 365 * 24 * time.Hour, 3 * time.Hour, -2 * time.Hour,
		-20 * 365 * 24 * time.Hour} {
		w := newBench(t)
		w.run(time.Minute)
		w.provider(false)
		w.run(3 * time.Minute)
		w.now.Wall = w.now.Wall.Add(by)
		w.run(time.Minute)
		w.want(fmt.Sprint(by, ", before it was down for long"), "change changed zerotierbackup")
		w.run(2 * time.Minute)
		if len(w.sent) != 1 {
			t.Fatalf("%v: %+v", by, w.sent)
		}
		began := day.Add(by + time.Minute)
		if got := w.sent[0].Events[0].Since; got.Sub(began).Abs() > look {
			t.Errorf("%v: down since %v, want %v", by, got, began)
		}
		w.sent = nil
		w.now.Wall = w.now.Wall.Add(-by)
		w.run(24 * time.Hour)
		w.want(fmt.Sprint(by, " and back"), "")
	}
}

// What a person changes in the configuration is no news.
func TestReload(t *testing.T) {
	w := newBench(t)
	w.run(time.Minute)
	w.provider(false)
	w.run(10 * time.Minute)
	w.titles()
	w.status.Egresses = w.status.Egresses[1:]
	w.status.Policies = []api.Policy{{Name: "policy[0]", From: []string{"zerotier"},
		Wanted: []string{"backup"}, Egress: "backup"}}
	w.run(time.Hour)
	w.want("the egress that was down was taken out", "")

	w = newBench(t)
	w.run(time.Minute)
	w.provider(false)
	w.run(10 * time.Minute)
	w.titles()
	w.settings.Kinds = []Kind{Error}
	w.provider(true)
	w.run(time.Hour)
	w.want("not wanted any more", "")
	w.settings.Kinds = allKinds
	w.run(time.Hour)
	w.want("wanted again, all well", "")

	w.problem(api.Condition{Code: health.WANSilent, Severity: health.Error, Message: "m"})
	w.run(10 * time.Minute)
	w.m.SetSenders([]string{"telegram", "ntfy"})
	w.run(time.Hour)
	if n := len(w.m.Outboxes["telegram"].Pending); n != 0 {
		t.Errorf("a new sender is told of %d old events", n)
	}
	w.m.SetSenders([]string{"telegram"})
	if len(w.m.Outboxes) != 1 {
		t.Error("the outbox of a sender that is gone stays")
	}

	w = newBench(t)
	w.settings.Kinds = nil
	w.run(look)
	fresh := w.status.Policies[0]
	fresh.From = []string{"endpoint"}
	w.status.Policies = append([]api.Policy{fresh}, w.status.Policies...)
	if !w.m.Step(w.now, w.status, w.settings) {
		t.Error("a rule that comes before others is not written down")
	}
}

func TestWhichProblemsAreNews(t *testing.T) {
	for name, test := range map[string]struct {
		c    []api.Condition
		want string
	}{
		"a warning": {[]api.Condition{{Code: health.TunnelWarning, Severity: health.Warning}}, ""},
		"an error": {[]api.Condition{{Code: health.EndpointFailed, Severity: health.Error}},
			"error began endpoint-failed; error ended endpoint-failed"},
		"a consequence": {[]api.Condition{{Code: health.WANDown, Severity: health.Error},
			{Code: health.PathBroken, Severity: health.Error}},
			"error began wan-down; error ended wan-down"},
		"a failing sender, whatever its severity": {[]api.Condition{
			{Code: health.NotifyFailed, Severity: health.Error}}, ""},
		"a full disk": {[]api.Condition{{Code: health.DiskFull, Severity: health.Warning}},
			"disk began disk-full; disk ended disk-full"},
		"a full disk and what follows": {[]api.Condition{
			{Code: health.HistoryFailed, Severity: health.Warning},
			{Code: health.DiskFull, Severity: health.Warning}},
			"disk began disk-full; disk ended disk-full"},
		"an update": {[]api.Condition{{Code: health.UpdateAvailable, Severity: health.Info,
			Message: "version 1.1.0 is there; this box's turn is at 03:00"}},
			"update began update-available"},
		"a staged update": {[]api.Condition{{Code: health.UpdateStaged}}, ""},
	} {
		w := newBench(t)
		w.run(time.Minute)
		w.problem(test.c...)
		w.run(time.Hour)
		w.problem()
		w.run(time.Hour)
		w.want(name, test.want)
	}
}

func TestEachVersionIsToldOnce(t *testing.T) {
	w := newBench(t)
	offered := func(version, turn string) {
		w.problem(api.Condition{Code: health.UpdateAvailable, Severity: health.Info,
			Message: "version " + version + " is there; this box's turn is at " + turn})
	}
	for i := range 48 {
		offered("1.1.0", fmt.Sprint(i))
		w.run(30 * time.Minute)
		if i%5 == 0 { // the box restarts, and its updater has not looked yet
			w.restart()
			w.problem()
			w.run(10 * time.Minute)
		}
	}
	w.want("one version", "update began update-available")
	offered("1.2.0", "3")
	w.run(time.Hour)
	w.want("the next", "update began update-available")
}

func TestFailuresBackOff(t *testing.T) {
	w := newBench(t)
	w.run(time.Minute)
	w.provider(false)
	w.broken = errors.New("refused")
	w.run(24 * time.Hour)
	if n := len(w.attempts); n < 20 || n > 40 {
		t.Errorf("%d attempts in a day", n)
	}
	if box := w.m.Outboxes["ntfy"]; box.Fault != "refused" || len(box.Pending) != 2 {
		t.Errorf("%+v", box)
	}
	w.broken = nil
	w.run(2 * time.Hour)
	w.want("delivered at last", "change changed zerotierbackup; down began provider")
}
