package notify

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"ztbridge/bridge/health"
)

// Kind is a kind of event that a person can ask to be told.
type Kind string

// The kinds.
const (
	Down   Kind = "down"   // an egress carries nothing
	Change Kind = "change" // a rule's traffic leaves by another egress
	Error  Kind = "error"  // a problem of severity error
	Update Kind = "update" // a newer version is there, or the box cannot install it
	Disk   Kind = "disk"   // the disk or SD card is full, read-only or failing
)

// State says how far an event has come.
type State string

// The states.
const (
	Began   State = "began"   // and lasts
	Ended   State = "ended"   // its beginning was told
	Passed  State = "passed"  // began and ended before either could be told
	Changed State = "changed" // from one thing to another, for good
)

// Moment is a point in time by two clocks. Elapsed never jumps, and stands still while no daemon
// runs: durations are measured by it. Wall is what people read.
type Moment struct {
	Elapsed time.Duration `json:"elapsed"`
	Wall    time.Time     `json:"wall,omitzero"`
}

// Event is something that a person is told.
type Event struct {
	Kind     Kind            `json:"event"`
	State    State           `json:"state"`
	Subject  string          `json:"subject,omitempty"` // egress or rule; empty: the box
	Severity health.Severity `json:"severity"`
	Code     health.Code     `json:"code,omitempty"` // of a problem
	From     string          `json:"from,omitempty"` // of a change: the egress before
	To       string          `json:"to,omitempty"`   // and after; empty: blocked
	Message  string          `json:"message"`        // what is wrong, or why
	Remedy   string          `json:"remedy,omitempty"`
	Since    time.Time       `json:"since,omitzero"`
	Until    time.Time       `json:"until,omitzero"`
	Times    int             `json:"times"` // that it began since it was told last
	// Unsteady reports whether it went away in between, for less than a minute.
	Unsteady bool `json:"unsteady,omitempty"`
}

// Text says the event in words for people.
func (e Event) Text() string {
	text := e.headline()
	if e.State == Began || e.State == Changed {
		if e.Message != "" {
			text += ": " + e.Message
		}
		text = strings.TrimSuffix(text, ".") + "."
		if e.Remedy != "" {
			text += "\nWhat to do: " + e.Remedy
		}
		return text
	}
	return text + "."
}

// headline says the event in a few words.
func (e Event) headline() string {
	switch e.Kind {
	case Down:
		return e.downLine()
	case Change:
		return e.changeLine()
	case Update:
		return "Update"
	}
	what := cmp.Or(e.Subject, "This box")
	switch e.State {
	case Ended, Passed:
		return fmt.Sprintf("%s: solved: %s (%s)", what, strings.TrimSuffix(e.Message, "."),
			e.span())
	}
	return fmt.Sprintf("%s has a problem since %s", what, clock(e.Since))
}

func (e Event) downLine() string {
	switch e.State {
	case Ended:
		return fmt.Sprintf("%s is up again (it was down %s)", e.Subject, e.span())
	case Passed:
		return fmt.Sprintf("%s was down %s, and is up again", e.Subject, e.span())
	}
	line := fmt.Sprintf("%s is down since %s", e.Subject, clock(e.Since))
	if e.Unsteady {
		line = fmt.Sprintf("%s is down again and again since %s", e.Subject, clock(e.Since))
	}
	if e.Times > 1 {
		line += fmt.Sprintf(", for the %dth time since the last message", e.Times)
	}
	return line
}

func (e Event) changeLine() string {
	by := func(egress string) string {
		if egress == "" {
			return "is blocked"
		}
		return "leaves by " + egress
	}
	if e.State == Passed {
		return fmt.Sprintf("Traffic of %s left by another exit for a while (%s), and %s again",
			e.Subject, e.span(), by(e.To))
	}
	return fmt.Sprintf("Traffic of %s %s now, since %s (before: %s)", e.Subject, by(e.To),
		clock(e.Since), cmp.Or(e.From, "blocked"))
}

// span says from when until when, and how often.
func (e Event) span() string {
	text := fmt.Sprintf("from %s to %s", clock(e.Since), clock(e.Until))
	if e.Times > 1 {
		text += fmt.Sprintf(", %d times", e.Times)
	}
	return text
}

// clock is a time as people are told it.
func clock(t time.Time) string { return t.Format("Jan 2 15:04 MST") }
