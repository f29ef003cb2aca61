package api

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ztbridge/bridge/health"
)

// Width is the widest line of what is drawn for people, in columns.
const Width = 80

// RenderDetails draws all of a status for people, the kernel's side included, in lines of at most
// Width columns (a single longer word excepted). Times are told relative to Status.Time.
func RenderDetails(s Status) string {
	p := &page{now: s.Time}
	p.title(fmt.Sprintf("ztbridge %s: %s, up %s", s.Version, s.State, p.age(s.Started)))
	p.text("", s.Summary)
	if s.Override != "" {
		p.text("",
			fmt.Sprintf("%s was selected manually (ztbridge egress reset undoes that)", s.Override))
	}
	p.conditions(s.Conditions)
	p.wan(s.WAN)
	for _, n := range s.Networks {
		p.network(n)
	}
	for _, i := range s.Ingresses {
		p.ingress(i)
	}
	for _, e := range s.Egresses {
		p.egress(e)
	}
	for _, rule := range s.Policies {
		p.policy(rule)
	}
	if len(s.Devices) > 0 {
		p.title("devices with an exit of their own")
		for _, d := range s.Devices {
			p.text("  ", fmt.Sprintf("%s for %s, by %s, %s %s %s", d.words(), p.age(d.Since),
				d.Rule, d.Kind, d.ID, words(d.Addresses)))
		}
	}
	if len(s.Clients) > 0 {
		p.title("clients")
		for _, c := range s.Clients {
			p.text("  ", fmt.Sprintf("%s %s by %s from %s, for %s", c.Name, words(c.Addresses),
				c.Listener, c.Remote, p.age(c.Since)))
		}
	}
	if len(s.Traffic) > 0 {
		p.title("traffic of each device")
		for _, d := range ByTraffic(s.Traffic) {
			p.text("  ", d.words(p.age))
		}
	}
	p.reconcile(s.Reconcile)
	return p.b.String()
}

// RenderExplanation draws what happens to one address.
func RenderExplanation(e Explanation) string {
	p := &page{}
	goes := "is blocked"
	if e.Egress != "" {
		goes = "leaves by " + e.Egress
	}
	by := "no rule matches"
	if e.Rule != "" {
		by = "by " + RuleTitle(e.Rule)
	}
	p.title(fmt.Sprintf("%s %s (%s)", e.Address, goes, by))
	p.field("enters", e.Ingress)
	p.field("client", e.Client)
	for i, step := range e.Steps {
		p.text("  ", fmt.Sprintf("%d. %s", i+1, step))
	}
	return p.b.String()
}

// ruleName is how a rule is called in the configuration's terms.
var ruleName = regexp.MustCompile(`policy\[(\d+)\]`)

// RuleTitle returns a text in which rules are counted from one, as people do: "rule 1" in place of
// "policy[0]".
func RuleTitle(text string) string {
	return ruleName.ReplaceAllStringFunc(text, func(name string) string {
		n, _ := strconv.Atoi(ruleName.FindStringSubmatch(name)[1])
		return fmt.Sprintf("rule %d", n+1)
	})
}

func (p *page) conditions(list []Condition) {
	if len(list) == 0 {
		return
	}
	p.title("problems")
	holds := func(code health.Code) bool {
		return slices.ContainsFunc(list, func(c Condition) bool { return c.Code == code })
	}
	for _, c := range list {
		subject := ""
		if c.Subject != "" {
			subject = c.Subject + ": "
		}
		p.text("  ", fmt.Sprintf("%s: %s%s (for %s)", c.Severity, subject, c.Message,
			p.age(c.Since)))
		if i := slices.IndexFunc(c.DependsOn, holds); i >= 0 {
			p.text("    ", "because of: "+string(c.DependsOn[i]))
		} else if c.Remedy != "" {
			p.text("    ", "to fix: "+c.Remedy)
			p.command("      ", c.Command)
		}
	}
}

func (p *page) wan(w WAN) {
	p.title("wan " + w.Interface + " " + upDown(w.Up))
	p.field("addresses", words(w.Addresses))
	p.field("gateways", words(slices.DeleteFunc([]netip.Addr{w.Gateway4, w.Gateway6},
		func(a netip.Addr) bool { return !a.IsValid() })))
	p.change(w.LastChange)
}

func (p *page) network(n Network) {
	p.title(fmt.Sprintf("network %s %s", n.Name, n.Status))
	if n.Name != n.ID {
		p.field("id", n.ID)
	}
	p.field("title", n.Title)
	if n.Status == NetworkDenied && n.Member != "" {
		p.field("member", n.Member+": authorise this address at the network's controller")
	} else {
		p.field("member", n.Member)
	}
	p.field("interface", n.Interface)
	p.field("addresses", words(n.Addresses))
	p.mtu(n.MTU)
}

func (p *page) ingress(i Ingress) {
	p.title(fmt.Sprintf("ingress %s %s (%s)", i.Name, i.State, i.Kind))
	p.field("interface", strings.TrimSpace(i.Interface+" "+words(i.Addresses)))
	p.counters(i.Counters)
	for _, a := range i.Goes {
		p.field("goes", p.assignment(a))
	}
	p.change(i.LastChange)
}

func (p *page) assignment(a Assignment) string {
	to := ""
	if a.To != "" {
		to = " to " + a.To
	}
	by := cmp.Or(a.Rule, "no rule")
	goes := "blocked"
	if a.Egress != "" {
		goes = a.Egress
		if !a.IPv6 {
			goes += " (IPv6 blocked)"
		}
	}
	return fmt.Sprintf("%s%s → %s by %s for %s%s", a.From, to, goes, by, p.age(a.Since),
		because(a.Why))
}

func (p *page) egress(e Egress) {
	chosen := ""
	if e.Chosen {
		chosen = ", selected manually"
	}
	p.title(fmt.Sprintf("egress %s %s for %s (%s%s)", e.Name, e.State, p.age(e.Since), e.Kind,
		chosen))
	p.field("remote", e.Remote)
	p.field("interface", strings.TrimSpace(e.Interface+" "+words(e.Addresses)))
	for _, a := range e.ExitAddresses {
		p.field("seen as", fmt.Sprintf("%s, said %s %s ago", a, a.Service, p.age(a.At)))
	}
	p.mtu(e.MTU)
	p.field("dns", strings.Join(e.DNS, " "))
	switch {
	case e.RTT > 0:
		p.field("probes", fmt.Sprintf("%.1f ms, %.0f %% lost", e.RTT*1000, e.Loss*100))
	case e.Loss > 0:
		p.field("probes", fmt.Sprintf("%.0f %% lost", e.Loss*100))
	}
	p.counters(e.Counters)
	p.change(e.LastChange)
}

func (p *page) policy(rule Policy) {
	now := rule.Exits()
	if rule.Off {
		now = "not now"
	}
	p.title(fmt.Sprintf("%s → %s for %s", rule.Name, now, p.age(rule.Since)))
	p.field("from", strings.Join(rule.From, ", "))
	p.field("to", strings.Join(rule.To, ", "))
	p.field("at", strings.Join(rule.At, ", "))
	wanted := cmp.Or(strings.Join(rule.Wanted, ", "), "block")
	p.field("egress", wanted)
	p.field("why", rule.Why)
}

func (p *page) reconcile(r Reconcile) {
	if r.At.IsZero() {
		return
	}
	p.title(fmt.Sprintf("last kernel update %s ago in %s", p.age(r.At),
		time.Duration(r.Duration*float64(time.Second)).Round(time.Millisecond)))
	p.field("cause", r.Cause)
	p.field("error", r.Error)
	if len(r.Ops) == 0 {
		p.field("changed", "nothing")
	}
	for _, op := range r.Ops {
		p.field("changed", op)
	}
}
