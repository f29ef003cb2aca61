package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ztbridge/bridge/health"
)

// Render draws a status as somebody reads it who wants to know whether it works: the verdict, the
// address that the Internet sees, where each device goes, what is wrong and how to fix it. Lines
// have at most Width columns (a single longer word excepted), and a healthy box with one egress
// fits in 24 of them. Times are told relative to Status.Time. RenderDetails draws the rest.
func Render(s Status) string {
	p := &page{now: s.Time}
	p.headline(s)
	p.traffic(s)
	p.problems(s.Conditions)
	if len(s.Egresses) > 0 {
		p.title("Exits")
	}
	for _, e := range s.Egresses {
		p.exit(e)
	}
	if len(s.Networks) > 0 {
		p.title("Networks")
	}
	for _, n := range s.Networks {
		p.text("  ", fmt.Sprintf("%s: %s, this box is %s %s", strings.TrimSpace(n.Name+" "+n.Title),
			n.Status, n.Member, words(n.Addresses)))
	}
	if len(s.Clients) > 0 {
		p.title("Connected clients")
	}
	for _, c := range s.Clients {
		p.text("  ", fmt.Sprintf("%s %s by %s from %s, for %s", c.Name, words(c.Addresses),
			c.Listener, c.Remote, p.age(c.Since)))
	}
	p.title(fmt.Sprintf("ztbridge %s, running for %s. Details: ztbridge status -v", s.Version,
		p.age(s.Started)))
	return p.b.String()
}

// RenderHeadline draws what Render begins with: the verdict, and how the Internet sees the devices.
func RenderHeadline(s Status) string {
	p := &page{now: s.Time}
	p.headline(s)
	return p.b.String()
}

func (p *page) headline(s Status) {
	p.wrap("", "", s.Summary)
	if s.Override != "" {
		p.text("", fmt.Sprintf("%s was selected manually (ztbridge egress reset undoes that)",
			s.Override))
	}
	p.exitAddresses(s)
}

// exitAddresses tells how the Internet sees the devices, for each egress that carries them.
func (p *page) exitAddresses(s Status) {
	for _, e := range s.Egresses {
		if len(e.ExitAddresses) > 0 && carries(s, e.Name) {
			p.text("", fmt.Sprintf("The Internet sees %s (by %s).", Join(e.ExitAddresses, " and "),
				e.Name))
		}
	}
}

// String returns the address, and the country where it is known: "203.0.113.7 in NL".
func (a ExitAddress) String() string {
	if a.Country == "" {
		return a.Address.String()
	}
	return a.Address.String() + " in " + a.Country
}

// carries reports whether the traffic of a rule leaves by an egress.
func carries(s Status, egress string) bool {
	return slices.ContainsFunc(s.Policies, func(rule Policy) bool {
		return rule.Egress == egress || rule.Egress6 == egress
	})
}

// problems lists what is wrong, each with what to do. What follows from another needs nothing of
// its own.
func (p *page) problems(list []Condition) {
	if len(list) == 0 {
		return
	}
	title := "Notes"
	if slices.ContainsFunc(list, func(c Condition) bool {
		return c.Severity.AtLeast(health.Warning)
	}) {
		title = "Problems"
	}
	p.title(title)
	for _, c := range list {
		if c.Explained(list) {
			continue
		}
		p.text("  ", fmt.Sprintf("%s: %s (for %s)", c.Severity, named(c), p.age(c.Since)))
		if c.Remedy != "" {
			p.text("    ", "To fix: "+c.Remedy)
		}
		p.command("        ", c.Command)
	}
}

// named puts the subject before the message unless it is told there.
func named(c Condition) string {
	if c.Subject == "" || strings.Contains(c.Message, strings.Fields(c.Subject)[0]) {
		return c.Message
	}
	return c.Subject + ": " + c.Message
}

// Explained reports whether another condition of a list explains this one.
func (c Condition) Explained(list []Condition) bool {
	return slices.ContainsFunc(list, func(other Condition) bool {
		return slices.Contains(c.DependsOn, other.Code)
	})
}

// traffic tells where each group of devices goes, once for each rule.
func (p *page) traffic(s Status) {
	if len(s.Policies) == 0 {
		return
	}
	p.title("Devices")
	for _, rule := range s.Policies {
		from := cmp.Or(strings.Join(rule.From, ", "), "all")
		if len(rule.To) > 0 {
			from += " to " + strings.Join(rule.To, ", ")
		}
		if len(rule.At) > 0 {
			from += " (" + strings.Join(rule.At, ", ") + ")"
		}
		if rule.Off {
			p.text("  ", from+" → not now")
			continue
		}
		now := rule.Exits() + unanswered(s, rule.Egress)
		why := ""
		if len(rule.Wanted) > 0 && (rule.Egress == "" || rule.Egress != rule.Wanted[0]) {
			why = because(rule.Why)
		}
		p.text("  ", fmt.Sprintf("%s → %s for %s%s", from, now, p.age(rule.Since), why))
	}
	for _, d := range s.Devices {
		p.text("  ", d.words()+" for "+p.age(d.Since))
	}
	for _, i := range s.Ingresses {
		if i.State != "up" {
			p.text("  ", fmt.Sprintf("%s: the interface %s is %s", i.Name, i.Interface, i.State))
		}
	}
}

// Exits says which egresses carry the rule's traffic now: "provider", "provider, IPv6 by backup",
// "blocked", or "blocked, IPv6 by backup".
func (rule Policy) Exits() string {
	text := cmp.Or(rule.Egress, "blocked")
	if rule.Egress6 != "" {
		text += ", IPv6 by " + rule.Egress6
	}
	return text
}

// unanswered says so where nothing beyond an egress answers.
func unanswered(s Status, egress string) string {
	for _, e := range s.Egresses {
		if e.Name == egress && (e.State == "degraded" || e.State == "unreachable") {
			return " (" + e.words() + ")"
		}
	}
	return ""
}

// states says in words what the states of an egress mean that are not words for people.
var states = map[string]string{
	"degraded": "does not answer probes", "unreachable": "does not answer",
	"ring": "leads back here", "backoff": "not connected", "auth-failed": "login rejected",
	"tls-failed": "secure connection failed", "dns-failed": "server name not found",
	"cert-expired": "certificate expired", "config-error": "profile refused by openvpn",
	"push-refused": "server's settings refused",
}

// words says what state the egress is in.
func (e Egress) words() string {
	if words := states[e.State]; words != "" {
		return words
	}
	return e.State
}

// words tells which exit a device chose, and where it goes if that is another.
func (d Device) words() string {
	now := d.Egress
	switch {
	case now == "":
		now = "blocked"
	case d.Egress6 != "":
		now += ", IPv6 by " + d.Egress6
	}
	if now != d.Choice {
		now += " (it chose " + d.Choice + ")"
	}
	return d.Name + " → " + now
}

// exit tells of one egress in a line or two.
func (p *page) exit(e Egress) {
	text := fmt.Sprintf("%s: %s for %s", e.Name, e.words(), p.age(e.Since))
	if e.Remote != "" {
		text += ", " + e.Remote
	}
	if e.RTT > 0 {
		text += fmt.Sprintf(", %.0f ms", e.RTT*1000)
	}
	if e.Loss >= 0.01 {
		text += fmt.Sprintf(", %.0f %% lost", e.Loss*100)
	}
	p.text("  ", text)
}
