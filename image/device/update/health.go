package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/health"
)

// Health is what the daemon says of itself, reduced to what a new system is judged by. Its JSON
// stays on the data partition during an update, and may have been written by another version.
type Health struct {
	// Errors holds the errors, each as "code subject".
	Errors []string `json:"errors"`
	// Links holds everything that packets travel by, and how well it works. A dead tunnel is only a
	// warning of the daemon's while there is another one. Versions that knew only errors left it
	// out.
	Links map[string]linkState `json:"links,omitempty"`

	// at is when the daemon looked last, and instance when it started: what goes round and round is
	// no daemon.
	at, instance time.Time
}

// linkState says how well a link does. States that people tell apart are one here: a tunnel that
// nobody answers is not worse than one whose password is refused.
type linkState int

const (
	down     linkState = iota // nothing passes
	unproven                  // it is connected, but nothing has shown that something passes
	working                   // somebody at the other end answers
)

func (s linkState) String() string {
	return [...]string{"down", "without an answer", "working"}[min(max(s, down), working)]
}

// zerotierLink is the link of the ZeroTier service itself; the others are a kind, a space and a
// name.
const zerotierLink = "zerotier"

// errNotReady reports a daemon that has not finished its first look. Nothing is known to be bad,
// and nothing passes.
var errNotReady = errors.New("the daemon is starting")

// worseThan lists, in words, what was better before. An update is not to blame for a provider that
// was down already.
func (h Health) worseThan(before Health) []string {
	var worse []string
	for _, e := range h.Errors {
		if !before.knew(e) {
			worse = append(worse, "new error "+e)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before.Links)) {
		if was, is := before.Links[name], h.Links[name]; is < was {
			worse = append(worse, fmt.Sprintf("%s was %s and is %s", name, was, is))
		}
	}
	return worse
}

// knew reports whether an error is none of the new system's. Errors of a link are judged by how the
// link does: what is wrong with a dead one changes with the minute.
func (h Health) knew(e string) bool {
	if slices.Contains(h.Errors, e) {
		return true
	}
	code, subject, _ := strings.Cut(e, " ")
	if subject == "" {
		_, noted := h.Links[zerotierLink]
		return noted && health.AreaOf(health.Code(code)) == health.Service
	}
	for _, kind := range []string{"egress ", "network "} {
		if _, noted := h.Links[kind+subject]; noted {
			return true
		}
	}
	return slices.ContainsFunc(h.Errors,
		func(old string) bool { return strings.HasSuffix(old, " "+subject) })
}

// sharedWith returns what can be compared with the health under another configuration. Those are
// links of both, and errors of the box itself, which have no subject. ZeroTier is always well where
// no network is configured.
func (h Health) sharedWith(other Health) Health {
	shared := Health{Links: map[string]linkState{}}
	for name, state := range h.Links {
		if _, both := other.Links[name]; both &&
			(name != zerotierLink || h.joins() && other.joins()) {
			shared.Links[name] = state
		}
	}
	for _, e := range h.Errors {
		if !strings.Contains(e, " ") && health.AreaOf(health.Code(e)) != health.Service {
			shared.Errors = append(shared.Errors, e)
		}
	}
	return shared
}

func (h Health) joins() bool {
	isNetwork := func(name string) bool { return strings.HasPrefix(name, "network ") }
	return slices.ContainsFunc(slices.Collect(maps.Keys(h.Links)), isNetwork)
}

// daemonStatus is what counts of `ztbridge status --json`.
type daemonStatus struct {
	State      string    `json:"state"`
	Time       time.Time `json:"time"`
	Started    time.Time `json:"started"`
	Conditions []struct {
		Code     health.Code     `json:"code"`
		Subject  string          `json:"subject"`
		Severity health.Severity `json:"severity"`
	} `json:"conditions"`
	Egresses []struct {
		Name   string  `json:"name"`
		State  string  `json:"state"`
		Usable bool    `json:"usable"`
		RTT    float64 `json:"rtt_seconds"`
	} `json:"egresses"`
	Networks []struct {
		Name   string `json:"name"`
		Status string `json:"status"`
	} `json:"networks"`
	Ingresses []struct {
		Name  string `json:"name"`
		State string `json:"state"`
	} `json:"ingresses"`
}

func parseHealth(text []byte) (Health, error) {
	var s daemonStatus
	if err := json.Unmarshal(text, &s); err != nil {
		return Health{}, fmt.Errorf("reading the daemon's status: %w", err)
	}
	if s.State == "" || s.State == "starting" || s.Time.IsZero() {
		return Health{}, errNotReady
	}
	h := Health{Errors: []string{}, Links: map[string]linkState{zerotierLink: working}, at: s.Time,
		instance: s.Started}
	for _, c := range s.Conditions {
		isError := c.Severity == health.Error
		if isError {
			h.Errors = append(h.Errors, strings.TrimSpace(string(c.Code)+" "+c.Subject))
		}
		switch {
		case isError && c.Subject == "" && health.AreaOf(c.Code) == health.Service:
			h.Links[zerotierLink] = down
		case c.Code == health.ServiceUnreachable:
			h.Links[zerotierLink] = min(h.Links[zerotierLink], unproven)
		}
	}
	for _, e := range s.Egresses {
		state := down
		switch {
		case e.Usable && e.State == "up" && e.RTT > 0:
			state = working
		case e.Usable:
			state = unproven
		}
		h.Links["egress "+e.Name] = state
	}
	for _, n := range s.Networks {
		h.Links["network "+n.Name] = linkStateIf(n.Status == "ok")
	}
	for _, i := range s.Ingresses {
		// Whether its cable is in is the client's affair.
		h.Links["ingress "+i.Name] = linkStateIf(i.State != "absent")
	}
	return h, nil
}

func linkStateIf(works bool) linkState {
	if works {
		return working
	}
	return down
}

// daemonHealth asks the running daemon. Its exit code tells that something is wrong, which the
// answer tells better.
func daemonHealth(ctx context.Context) (Health, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/bin/ztbridge", "status", "--json").Output()
	if len(out) == 0 {
		return Health{}, fmt.Errorf("asking the daemon: %w", errors.Join(err, errNoAnswer))
	}
	return parseHealth(out)
}

var errNoAnswer = errors.New("no answer")
