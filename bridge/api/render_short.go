package api

import (
	"fmt"
	"slices"
	"strings"
)

// Render draws a status as somebody reads it who wants to know whether it works: the verdict, what
// is wrong and how to fix it, where each device goes. Lines have at most Width columns (a single
// longer word excepted), and a healthy box with one egress fits in 24 of them. Times are told
// relative to Status.Time. RenderDetails draws the rest.
func Render(s Status) string {
	p := &page{now: s.Time}
	p.text("", s.Summary)
	if s.Override != "" {
		p.text("", fmt.Sprintf("%s was selected manually (ztbridge egress reset undoes that)",
			s.Override))
	}
	p.problems(s.Conditions)
	p.traffic(s)
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

// problems lists what is wrong, each with what to do. What follows from another needs nothing of
// its own.
func (p *page) problems(list []Condition) {
	if len(list) == 0 {
		return
	}
	p.title("Problems")
	for _, c := range list {
		if explained(c, list) {
			continue
		}
		p.text("  ", fmt.Sprintf("%s: %s (for %s)", c.Severity, named(c), p.age(c.Since)))
		if c.Remedy != "" {
			p.text("    ", "To fix: "+c.Remedy)
		}
		p.command("      ", c.Command)
	}
}

// named puts the subject before the message unless it is told there.
func named(c Condition) string {
	if c.Subject == "" || strings.Contains(c.Message, strings.Fields(c.Subject)[0]) {
		return c.Message
	}
	return c.Subject + ": " + c.Message
}

func explained(c Condition, list []Condition) bool {
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
		from := strings.Join(rule.From, ", ")
		if from == "" {
			from = "all"
		}
		if len(rule.To) > 0 {
			from += " to " + strings.Join(rule.To, ", ")
		}
		now := "blocked"
		switch {
		case rule.Egress6 != "":
			now = fmt.Sprintf("%s, IPv6 by %s", rule.Egress, rule.Egress6)
		case rule.Egress != "":
			now = rule.Egress
		}
		why := ""
		if len(rule.Wanted) > 0 && (rule.Egress == "" || rule.Egress != rule.Wanted[0]) {
			why = because(rule.Why)
		}
		p.text("  ", fmt.Sprintf("%s → %s for %s%s", from, now, p.age(rule.Since), why))
	}
	for _, i := range s.Ingresses {
		if i.State != "up" {
			p.text("  ", fmt.Sprintf("%s: the interface %s is %s", i.Name, i.Interface, i.State))
		}
	}
}

// exit tells of one egress in a line or two.
func (p *page) exit(e Egress) {
	text := fmt.Sprintf("%s: %s for %s", e.Name, e.State, p.age(e.Since))
	if e.Remote != "" {
		text += ", " + e.Remote
	}
	if e.RTT > 0 {
		text += fmt.Sprintf(", %.0f ms", e.RTT*1000)
	}
	if e.Loss >= 0.01 {
		text += fmt.Sprintf(", %.0f %% lost", e.Loss*100)
	}
	p.text("  ", fmt.Sprintf("%s, in %s, out %s", text, size(e.Counters.BytesIn),
		size(e.Counters.BytesOut)))
}
