package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

// tone is how good something is, as the style sheet names it. A word says the same beside it.
type tone string

const (
	good tone = "good"
	warn tone = "warn"
	bad  tone = "bad"
	info tone = "info"
)

// statusView is what the status page shows, as text.
type statusView struct {
	Tone     tone
	Title    string
	Facts    []string
	Override string
	Problems []problemView
	Picture  picture
	Exits    []exitView
	Devices  []deviceView
	Networks []api.Network
	Traffic  trafficView
	Changes  []changeView
	Owner    bool
	Token    string
	Past     *pastView // nil where only the rest is made again
}

type problemView struct {
	ID, Label, Title, Age, Remedy, Command string
	Tone                                   tone
	// Retry and Keep report whether trying all tunnels again, or keeping the running configuration,
	// is a safe remedy.
	Retry, Keep bool
	Setup       bool // the page that leads on is a remedy
}

type exitView struct {
	Name, Kind, State, Detail string
	RTT, In, Out, Loss        string
	Tone                      tone
	Used, Chosen              bool
	Listed                    bool // a rule may use it
}

type deviceView struct{ Name, Address, By, Exit, Age string }

type changeView struct{ At, Age, Subject, What, Cause string }

// viewOf makes the view of a status. explain returns by which egress an address leaves now.
func viewOf(now snapshot, explain func(api.Client) string) statusView {
	s := now.status
	v := statusView{Tone: toneOf(s.State), Title: s.Summary, Override: s.Override,
		Networks: s.Networks, Traffic: trafficViewOf(s)}
	v.Facts = factsOf(s)
	for i, c := range s.Conditions {
		if !c.Explained(s.Conditions) && c.Code != health.EgressChosen {
			v.Problems = append(v.Problems, problemOf(i, c, s))
		}
	}
	v.Picture = pictureOf(s)
	for _, e := range s.Egresses {
		v.Exits = append(v.Exits, exitOf(e, s, now.rates[e.Name]))
	}
	for _, c := range s.Clients {
		v.Devices = append(v.Devices, deviceView{c.Name, texts(c.Addresses), c.Listener,
			explain(c), age(s.Time, c.Since)})
	}
	for _, e := range now.changes {
		v.Changes = append(v.Changes, changeView{e.At.UTC().Format(time.RFC3339),
			ago(s.Time, e.At), e.subject, words(e.What), e.Cause})
	}
	if len(v.Changes) > shownChanges {
		v.Changes = v.Changes[:shownChanges]
	}
	return v
}

// shownChanges is how many changes the status page shows.
const shownChanges = 12

func toneOf(s api.State) tone {
	switch s {
	case api.Working:
		return good
	case api.Degraded:
		return warn
	case api.Starting:
		return info
	default:
		return bad
	}
}

// factsOf returns what stands below the verdict.
func factsOf(s api.Status) []string {
	var out []string
	if used := inUse(s); len(used) > 0 {
		out = append(out, "Exit in use: "+strings.Join(used, ", "))
	}
	for _, e := range s.Egresses {
		if len(e.ExitAddresses) > 0 && slices.Contains(inUse(s), e.Name) {
			out = append(out, "The Internet sees "+texts(e.ExitAddresses))
		}
	}
	if n := len(s.Clients); n == 1 {
		out = append(out, "1 client connected")
	} else if n > 1 {
		out = append(out, fmt.Sprintf("%d clients connected", n))
	}
	return append(out, "Running for "+age(s.Time, s.Started))
}

// inUse returns the egresses that carry traffic of some rule, in the order of the rules.
func inUse(s api.Status) []string {
	var out []string
	for _, p := range s.Policies {
		for _, name := range []string{p.Egress, p.Egress6} {
			if name != "" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

func problemOf(i int, c api.Condition, s api.Status) problemView {
	v := problemView{ID: fmt.Sprintf("command-%d", i), Age: age(s.Time, c.Since),
		Title: c.Message, Remedy: sentence(c.Remedy), Command: c.Command}
	if c.Subject != "" && !strings.Contains(c.Message, c.Subject) {
		v.Title = c.Subject + ": " + c.Message
	}
	switch c.Severity {
	case health.Error:
		v.Label, v.Tone = "Error", bad
	case health.Warning:
		v.Label, v.Tone = "Warning", warn
	default:
		v.Label, v.Tone = "Note", info
	}
	kind, known := health.Lookup(c.Code)
	v.Retry = known && kind.Area == health.Tunnel && c.Code != health.TunnelWarning
	v.Keep = c.Code == health.ReloadRefused
	v.Setup = c.Code == health.NotSetUp
	return v
}

// kindNames are the kinds of egress as people call them.
var kindNames = map[string]string{
	"openvpn": "VPN provider", "zerotier": "another ZeroTier device",
	"wan": "this box's own connection",
}

func exitOf(e api.Egress, s api.Status, r rates) exitView {
	v := exitView{Name: e.Name, Kind: kindNames[e.Kind], State: sentence(words(e.State)),
		Detail: e.Remote, Used: slices.Contains(inUse(s), e.Name), Chosen: e.Chosen,
		Listed: slices.ContainsFunc(s.Policies,
			func(p api.Policy) bool { return slices.Contains(p.Wanted, e.Name) }),
		In: perSecond(r.in), Out: perSecond(r.out), RTT: "–"}
	if e.Server != "" {
		v.Detail = e.Server + ", " + e.Remote
	}
	if len(e.ExitAddresses) > 0 {
		v.Detail += " · seen as " + texts(e.ExitAddresses)
	}
	if e.RTT > 0 {
		v.RTT = fmt.Sprintf("%.0f ms", e.RTT*1000)
	}
	if e.Loss >= 0.01 {
		v.Loss = fmt.Sprintf("%.0f %% lost", e.Loss*100)
	}
	switch {
	case e.Usable && e.State == "up":
		v.Tone = good
	case e.Usable:
		v.Tone = warn
	case slices.Contains([]string{"connecting", "resolving", "stopped"}, e.State):
		v.Tone = info
	default:
		v.Tone = bad
	}
	return v
}

// namesOf says whose traffic a rule is about.
func namesOf(p api.Policy) string {
	text := cmp.Or(strings.Join(p.From, ", "), "Everything")
	if len(p.To) > 0 {
		text += " to " + strings.Join(p.To, ", ")
	}
	return text
}

// words writes a state of the program, or a change of it, as people read it.
func words(state string) string {
	list := strings.Fields(state)
	for i, word := range list {
		if word == "up" {
			list[i] = "connected"
		}
		list[i] = strings.ReplaceAll(list[i], "-", " ")
	}
	return strings.Join(list, " ")
}

// sentence begins a text with a capital letter.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + text[size:]
}

// age tells how long ago something was, so coarsely that the text stays the same for a while.
func age(now, at time.Time) string {
	d := max(now.Sub(at), 0)
	count := func(n int64, unit string) string {
		if n != 1 {
			unit += "s"
		}
		return fmt.Sprintf("%d %s", n, unit)
	}
	switch {
	case at.IsZero():
		return "a while"
	case d < 10*time.Second:
		return "a few seconds"
	case d < time.Minute:
		return count(int64(d/(10*time.Second))*10, "second")
	case d < time.Hour:
		return count(int64(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return count(int64(d/time.Hour), "hour")
	default:
		return count(int64(d/(24*time.Hour)), "day")
	}
}

// ago tells when something was.
func ago(now, at time.Time) string {
	if now.Sub(at) < 10*time.Second {
		return "Just now"
	}
	return age(now, at) + " ago"
}

// leavesBy says by which exit a rule's traffic leaves.
func leavesBy(p api.Policy) string {
	switch {
	case p.Off:
		return "not in force"
	case p.Egress == "":
		return p.Exits()
	}
	return "by " + p.Exits()
}

// perSecond writes a rate in bits, as lines are sold.
func perSecond(bytes float64) string {
	bits := bytes * 8
	switch {
	case bits < 1000:
		return "0"
	case bits < 1e6:
		return fmt.Sprintf("%.0f kbit/s", bits/1e3)
	case bits < 1e8:
		return fmt.Sprintf("%.1f Mbit/s", bits/1e6)
	default:
		return fmt.Sprintf("%.0f Mbit/s", bits/1e6)
	}
}

func texts[T fmt.Stringer](list []T) string { return api.Join(list, ", ") }
