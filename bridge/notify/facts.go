package notify

import (
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

const (
	// errorAfter is how long a problem must last until it is told: what passes by itself, as at
	// each start, is no news.
	errorAfter = 2 * time.Minute
	// briefly is how long anything else must last.
	briefly = 10 * time.Second
	// calm is how long a thing must be well until it counts as over, at first.
	calm = time.Minute
	// maxCalm bounds how far calm grows for what comes back again and again.
	maxCalm = 30 * time.Minute
	// updateCalm is how long nothing is said of updates until the same news is news again: after a
	// restart of the box they are unknown for a while.
	updateCalm = 24 * time.Hour
)

// fact is something that holds at one moment and may be worth telling.
type fact struct {
	Event
	key string // identifies it over time
	// quiet reports whether it is the consequence of something else that is told: it is not told on
	// its own account.
	quiet bool
	// after is how long it must last until it is told.
	after time.Duration
}

// diskCodes are the problems of disks and SD cards.
var diskCodes = []health.Code{health.DiskFull, health.DiskReadOnly, health.DiskErrors,
	health.HistoryFailed}

// updateCodes are the problems of updates that are news. What is staged was told as available.
var updateCodes = []health.Code{health.UpdateAvailable, health.UpdateFailed, health.UpdateFellBack}

// factsOf returns what holds by a status. downAfter is how long an egress must be down.
func factsOf(s api.Status, downAfter time.Duration) []fact {
	var out []fact
	down := map[string]bool{}
	for _, e := range s.Egresses {
		if !carriesNothing(e) {
			continue
		}
		down[e.Name] = true
		f := fact{key: "down " + e.Name, after: downAfter, Event: Event{Kind: Down,
			Subject: e.Name, Severity: health.Error, Message: e.State}}
		if e.LastChange.Cause != "" {
			f.Message += " (" + e.LastChange.Cause + ")"
		}
		for _, c := range s.Conditions {
			if c.Subject == e.Name && egressArea(c.Code) {
				f.Message, f.Remedy = c.Message, c.Remedy
				break
			}
		}
		out = append(out, f)
	}
	var codes []health.Code
	for _, c := range s.Conditions {
		codes = append(codes, c.Code)
	}
	for _, c := range s.Conditions {
		f := fact{key: string(c.Code) + " " + c.Subject, Event: Event{Subject: c.Subject,
			Severity: c.Severity, Code: c.Code, Message: c.Message, Remedy: c.Remedy}}
		switch {
		case slices.Contains(diskCodes, c.Code):
			f.Kind, f.after = Disk, briefly
			f.quiet = health.Explains(c.Code, codes) != ""
		case slices.Contains(updateCodes, c.Code):
			f.Kind, f.after = Update, briefly
			f.key = string(c.Code) + " " + newsOf(c.Message)
		case c.Code == health.NotifyFailed || !c.Severity.AtLeast(health.Error):
			continue
		default:
			f.Kind, f.after = Error, errorAfter
			f.quiet = health.Explains(c.Code, codes) != "" || down[c.Subject] && egressArea(c.Code)
		}
		out = append(out, f)
	}
	return out
}

// carriesNothing reports whether an egress is of no use to anybody: it is not up, or nothing beyond
// it answers.
func carriesNothing(e api.Egress) bool {
	answers := slices.ContainsFunc(e.Probes, func(p api.ProbeState) bool { return p.Up })
	return !e.Usable || len(e.Probes) > 0 && !answers
}

func egressArea(code health.Code) bool {
	area := health.AreaOf(code)
	return area == health.Tunnel || area == health.Egress
}

// newsOf returns the part of an updater's message that is news: times in it are not.
func newsOf(message string) string {
	for _, end := range []string{";", ":", " since "} {
		message, _, _ = strings.Cut(message, end)
	}
	return message
}

// route is where the traffic of a rule leaves.
type route struct{ key, of, to, why string }

// routesOf returns where each rule's traffic leaves by a status. A rule with another list of
// egresses is another rule: what a person configured is no news.
func routesOf(s api.Status) []route {
	var out []route
	for _, p := range s.Policies {
		if len(p.Wanted) == 0 || p.Off {
			continue // blocked for good, or not in force now
		}
		to := p.Egress
		switch {
		case to == "" && p.Egress6 != "":
			to = p.Egress6 + " (IPv6 alone)"
		case p.Egress6 != "":
			to += ", IPv6 by " + p.Egress6
		}
		of := strings.Join(p.From, ", ")
		if len(p.To) > 0 {
			of += " to " + strings.Join(p.To, ", ")
		}
		out = append(out, route{to: to, why: p.Why, of: of,
			key: strings.Join(append([]string{of, "by"}, p.Wanted...), " ")})
	}
	return out
}

// changeSeverity says how much it matters that traffic leaves by another egress.
func changeSeverity(to string) health.Severity {
	if to == "" {
		return health.Error
	}
	return health.Info
}
