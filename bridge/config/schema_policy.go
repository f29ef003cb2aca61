package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (d *decoder) policy(v value) {
	if v.node == nil {
		d.defaultPolicy()
		return
	}
	if v.isNull() {
		v.fail(ErrMissing,
			"there is no rule, which could mean that nothing may leave, or that all may",
			"write `policy: []` to refuse everything, or remove the key to send it by the "+
				"tunnels in their order")
		return
	}
	for _, item := range v.items() {
		if item.node.Kind != yaml.MappingNode {
			item.fail(ErrType, "expected a rule",
				"write it as {from: [zerotier], egress: [provider]}")
			continue
		}
		d.rule(item)
	}
}

// defaultPolicy sends everything through the tunnels, in the order of the file. It never chooses
// the box's own WAN for anybody: that shows where the box is, and nobody asked for it.
func (d *decoder) defaultPolicy() {
	c := d.cfg
	at := Position{File: d.file, Key: "policy"}
	names := c.IngressNames()
	if len(names) == 0 {
		return
	}
	rule := Rule{Name: "policy[0]", Pos: at, From: []Selector{everything(names, at)}}
	for _, e := range c.Egresses {
		if e.OpenVPN != nil {
			rule.Egress = append(rule.Egress, e.Name)
		}
	}
	if len(rule.Egress) == 0 && len(d.egressNames) == len(c.Egresses) {
		if c.Page.Serve == PageLAN && len(c.Egresses) == 0 {
			return // its page leads on; nothing passes meanwhile
		}
		d.fail(at, ErrMissing,
			"no way out is configured",
			"add your provider's profile under `egress:`, or rules under `policy:`")
		return
	}
	c.Policy = []Rule{rule}
}

func everything(ingresses []string, at Position) Selector {
	return Selector{Kind: ByIngress, Text: "everything", Ingress: ingresses, Pos: at}
}

func (d *decoder) rule(v value) {
	rule := Rule{Name: v.key, Pos: v.pos()}
	var from, egress, choose value
	v.object(fields{
		"from": func(v value) { from = v },
		"to": func(v value) {
			rule.To = prefixes(v.some("the list is empty",
				"name addresses or prefixes, or leave `to:` out for anywhere"))
		},
		"egress": func(v value) { egress = v },
		"choose": func(v value) { choose = v },
		"at":     func(v value) { rule.At = v.spans() },
	})
	if from.node == nil {
		rule.From = []Selector{everything(d.cfg.IngressNames(), rule.Pos)}
	} else {
		rule.From = d.selectors(from)
	}
	if d.exits(&rule, v, egress, choose) && len(rule.From) > 0 {
		d.cfg.Policy = append(d.cfg.Policy, rule)
	}
}

// exits decodes where a rule sends traffic.
func (d *decoder) exits(rule *Rule, v, egress, choose value) (ok bool) {
	ok = true
	if choose.node != nil {
		rule.Choose, ok = d.egressList(choose)
		if ok && len(rule.Choose) == 0 {
			choose.fail(ErrValue, "`block` is no exit that a device can choose",
				"name egresses here, and write `egress: block` for devices that chose none")
			ok = false
		}
	}
	switch {
	case egress.node != nil:
		var good bool
		rule.Egress, good = d.egressList(egress)
		rule.Failover = choose.node != nil && len(rule.Egress) > 0
		return ok && good
	case choose.node == nil:
		v.fail(ErrMissing, "the rule does not say where traffic goes",
			"add `egress:` with names in order of preference, or `egress: block`")
		return false
	case ok:
		rule.Egress = rule.Choose[:1]
	}
	return ok
}

// egressList decodes the egresses of a rule; empty and true for `block`.
func (d *decoder) egressList(v value) ([]string, bool) {
	items := v.some("the list is empty", "name an egress, or write `egress: block`")
	var list []string
	good := len(items) > 0
	for _, item := range items {
		text, ok := item.text()
		switch {
		case !ok:
		case text == blockWord && len(items) == 1:
			return nil, true
		case text == blockWord:
			item.fail(ErrValue, "a list ends closed by itself",
				"remove `block` here, or the egresses beside it")
			ok = false
		case slices.Contains(list, text):
			item.fail(ErrDuplicate, fmt.Sprintf("the egress %q is listed twice", text),
				"remove one of them")
			ok = false
		case !slices.Contains(d.egressNames, text):
			item.fail(ErrDangling, fmt.Sprintf("there is no egress %q", text),
				didYouMean(text, append(slices.Clone(d.egressNames), blockWord),
					"add it under `egress:`"))
			ok = false
		default:
			list = append(list, text)
		}
		good = good && ok
	}
	return list, good
}

func (d *decoder) selectors(v value) []Selector {
	var list []Selector
	for _, item := range v.some("the list is empty",
		"name who, or leave `from:` out for everything that enters") {
		s, ok := d.selector(item)
		if !ok {
			continue
		}
		for _, other := range list {
			if s.overlaps(other) {
				item.fail(ErrOverlap, fmt.Sprintf("%s is selected by %s in the same list", s.Text,
					other.Text), "remove one of them")
				ok = false
				break
			}
		}
		if ok {
			list = append(list, s)
		}
	}
	return list
}

func (s Selector) overlaps(o Selector) bool {
	if s.Kind != o.Kind {
		return false
	}
	switch s.Kind {
	case ByPrefix:
		return s.Prefix.Overlaps(o.Prefix)
	case ByClient:
		return s.Client == o.Client
	default:
		return slices.ContainsFunc(s.Ingress,
			func(name string) bool { return slices.Contains(o.Ingress, name) })
	}
}

func (d *decoder) selector(v value) (Selector, bool) {
	text, ok := v.text()
	if !ok {
		return Selector{}, false
	}
	s := Selector{Text: text, Pos: v.pos()}
	if looksNumeric(text) {
		s.Kind = ByPrefix
		s.Prefix, ok = v.prefix()
		return s, ok
	}
	if s.Ingress = d.cfg.ingress(text); s.Ingress != nil {
		s.Kind = ByIngress
		return s, true
	}
	// The names of clients are not checked here, but by CheckClients. Clients are added and revoked
	// while this file stays the same.
	if d.cfg.Endpoint != nil && clientRE.MatchString(text) && !d.cfg.meansIngress(text) {
		s.Kind, s.Client = ByClient, text
		return s, true
	}
	remedy := "name an ingress, an address or a prefix"
	if len(d.cfg.selectable()) > 0 {
		remedy = "known: " + strings.Join(d.cfg.selectable(), ", ") + ", or an address or a prefix"
	}
	v.fail(ErrDangling, fmt.Sprintf("%q is not a known device, client, network or interface", text),
		didYouMean(text, d.cfg.selectable(), remedy))
	return s, false
}

// looksNumeric reports whether a text is meant as an address or a prefix, right or wrong.
func looksNumeric(text string) bool {
	host, _, isPrefix := strings.Cut(text, "/")
	_, err := netip.ParseAddr(host)
	return isPrefix || err == nil || strings.Contains(text, ":") || strings.Contains(text, ".") &&
		numeric(text)
}

// networkIDRE is what a person writes who means a network: its id, right or wrong.
var networkIDRE = regexp.MustCompile(`^[0-9a-fA-F]{16}$`)

// meansIngress reports whether a name is written like an ingress, even if there is none of that
// name. A rule for a client of this name would silently match nobody.
func (c *Config) meansIngress(name string) bool {
	like := func(word string) bool { return strings.EqualFold(word, name) }
	return networkIDRE.MatchString(name) || like(EndpointIngress) || like(zeroTierWord) ||
		slices.ContainsFunc(c.selectable(), like)
}

// CheckClientName returns an error for a client's name that means something else in a rule. No rule
// could select that client.
func (c *Config) CheckClientName(name string) error {
	switch {
	case looksNumeric(name):
		return fmt.Errorf("%q would be an address or a prefix in a rule of the policy", name)
	case c.meansIngress(name):
		return fmt.Errorf("%q is an ingress in a rule of the policy", name)
	}
	return nil
}

// CheckClients warns of each client in the policy that does not exist or is revoked. Its rule
// matches nobody until the client is added.
func (c *Config) CheckClients(existing, revoked []string) []Warning {
	var warnings []Warning
	for _, rule := range c.Policy {
		for _, s := range rule.From {
			switch {
			case s.Kind != ByClient:
			case slices.Contains(revoked, s.Client):
				warnings = append(warnings,
					Warning{s.Pos, fmt.Sprintf(
						"the endpoint's client %q is revoked; remove it here, or add it again by "+
							"`ztbridge client add %s`", s.Client, s.Client)})
			case !slices.Contains(existing, s.Client):
				candidates := append(slices.Clone(existing), c.selectable()...)
				warnings = append(warnings,
					Warning{s.Pos, fmt.Sprintf("the endpoint has no client %q; %s", s.Client,
						didYouMean(s.Client, candidates, "add it by `ztbridge client add "+s.Client+
							"`"))})
			}
		}
	}
	return warnings
}
