package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Show returns the effective configuration as a file with the same meaning. Every default is
// written out, and every name is resolved. It holds no secret: credentials are named by their file.
func (c *Config) Show() ([]byte, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(c.view()); err != nil {
		return nil, fmt.Errorf("writing the configuration as YAML: %w", err)
	}
	return buf.Bytes(), enc.Close()
}

// The views are the schema as it is written, where the values in force are not of that form. flow
// keeps short things on one line.
type view struct {
	ZeroTier ZeroTier      `yaml:"zerotier"`
	Ingress  []Interface   `yaml:"ingress,omitempty"`
	Egress   *yaml.Node    `yaml:"egress,omitempty"`
	Policy   []viewRule    `yaml:"policy"`
	Inbound  []Inbound     `yaml:"inbound,omitempty"`
	Peering  []viewPeering `yaml:"peering"`
	Endpoint *Endpoint     `yaml:"endpoint,omitempty"`
	Probe    Probe         `yaml:"probe"`
	Exit     []string      `yaml:"exit_address"`
	Updates  Updates       `yaml:"updates"`
	Page     Page          `yaml:"page"`
	Metrics  *Metrics      `yaml:"metrics,omitempty"`
	History  bool          `yaml:"history"`
	Notify   *Notify       `yaml:"notify,omitempty"`
}

type viewOpenVPN struct {
	Profile     string     `yaml:"profile,omitempty"`
	Profiles    string     `yaml:"profiles,omitempty"`
	Pick        []string   `yaml:"pick,omitempty,flow"`
	Order       string     `yaml:"order,omitempty"`
	Rotate      string     `yaml:"rotate,omitempty"`
	Credentials string     `yaml:"credentials,omitempty"`
	DNS         []Resolver `yaml:"dns,omitempty,flow"`

	LegacyCrypto bool     `yaml:"legacy_crypto,omitempty"`
	Ciphers      []string `yaml:"ciphers,omitempty,flow"`
}

type viewPeer struct {
	Network string       `yaml:"network"`
	Via     []netip.Addr `yaml:"via,flow"`
	DNS     []Resolver   `yaml:"dns,omitempty,flow"`
}

type viewWAN struct {
	Interface string     `yaml:"interface,omitempty"`
	SNAT      string     `yaml:"snat,omitempty"`
	IPv6      any        `yaml:"ipv6,flow"`
	DNS       []Resolver `yaml:"dns,omitempty,flow"`
	Shape     string     `yaml:"shape,omitempty"`
}

type viewRule struct {
	From   []string       `yaml:"from,flow"`
	To     []netip.Prefix `yaml:"to,omitempty,flow"`
	At     []string       `yaml:"at,omitempty,flow"`
	Choose []string       `yaml:"choose,omitempty,flow"`
	Egress []string       `yaml:"egress,omitempty,flow"`
}

type viewPeering struct {
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

func (c *Config) view() view {
	v := view{
		ZeroTier: c.ZeroTier,
		Ingress:  slices.Clone(c.Interfaces),
		Egress:   c.viewEgresses(),
		Policy:   []viewRule{}, // empty refuses everything, while without the key all tunnels serve
		Inbound:  c.Inbound,
		Peering:  []viewPeering{},
		Endpoint: c.Endpoint,
		Probe:    c.Probe,
		Exit:     c.ExitAddress,
		Updates:  c.Updates,
		Page:     c.Page,
		History:  c.History,
		Notify:   c.Notify,
	}
	if len(v.Exit) == 0 {
		v.Exit = []string{exitOff}
	}
	if len(c.Metrics.Listen) > 0 {
		v.Metrics = &c.Metrics
	}
	v.ZeroTier.Networks = slices.Clone(c.ZeroTier.Networks)
	for i := range v.ZeroTier.Networks {
		leaveOut(&v.ZeroTier.Networks[i].Name, v.ZeroTier.Networks[i].ID)
	}
	for i := range v.Ingress {
		leaveOut(&v.Ingress[i].Name, v.Ingress[i].Iface)
	}
	for _, r := range c.Policy {
		v.Policy = append(v.Policy, r.view())
	}
	for _, p := range c.Peering {
		to := p.To
		if p.Prefix.IsValid() {
			to = p.Prefix.String()
		}
		v.Peering = append(v.Peering, viewPeering{p.From, to})
	}
	return v
}

// leaveOut empties a name that is the one without any.
func leaveOut(name *string, usual string) {
	if *name == usual {
		*name = ""
	}
}

func (c *Config) viewEgresses() *yaml.Node {
	if len(c.Egresses) == 0 {
		return nil
	}
	node := &yaml.Node{Kind: yaml.MappingNode} // a Go map would lose the order
	for _, e := range c.Egresses {
		var kind any
		switch {
		case e.OpenVPN != nil:
			o := viewOpenVPN{Profile: e.OpenVPN.Profile, DNS: e.DNS,
				Pick: e.OpenVPN.Pick, Order: e.OpenVPN.Order,
				LegacyCrypto: e.OpenVPN.LegacyCrypto, Ciphers: e.OpenVPN.Ciphers}
			if e.OpenVPN.Collection {
				o.Profile, o.Profiles = "", e.OpenVPN.Profile
			}
			if at := e.OpenVPN.Rotate; at != nil {
				o.Rotate = time.Time{}.Add(*at).Format("15:04")
			}
			if e.OpenVPN.Credentials != nil {
				o.Credentials = e.OpenVPN.Credentials.Path
			}
			kind = o
		case e.Peer != nil:
			kind = viewPeer{e.Peer.Network, valid(e.Peer.Via4, e.Peer.Via6), e.DNS}
		default:
			kind = e.WAN.view(e.DNS)
		}
		var body yaml.Node
		if err := body.Encode(map[string]any{e.Kind(): kind}); err != nil {
			panic(err) // values of our own types
		}
		node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: e.Name}, &body)
	}
	return node
}

func (w *WAN) view(dns []Resolver) viewWAN {
	v := viewWAN{Interface: w.Interface, IPv6: w.IPv6.Mode, DNS: dns}
	if w.SNAT.IsValid() {
		v.SNAT = w.SNAT.String()
	}
	if w.Shape > 0 {
		v.Shape = strconv.FormatFloat(float64(w.Shape)/1e6, 'f', -1, 64) + "mbit"
	}
	if w.IPv6.Mode == IPv6Prefix {
		v.IPv6 = w.IPv6
	}
	return v
}

func (r Rule) view() viewRule {
	v := viewRule{To: r.To, At: r.Times(), Egress: r.Egress, Choose: r.Choose}
	for _, s := range r.From {
		switch s.Kind {
		case ByIngress:
			v.From = append(v.From, s.Ingress...)
		case ByPrefix:
			v.From = append(v.From, s.Prefix.String())
		case ByClient:
			v.From = append(v.From, s.Client)
		}
	}
	if len(r.Choose) > 0 && !r.Failover && slices.Equal(r.Egress, r.Choose[:1]) {
		v.Egress = nil // as without the key
	} else if len(v.Egress) == 0 {
		v.Egress = []string{blockWord}
	}
	return v
}

// MarshalYAML returns the ports as they are written.
func (p Ports) MarshalYAML() (any, error) {
	if p.All {
		return "all", nil
	}
	return p.List, nil
}

// String returns "tcp/443".
func (l Listener) String() string { return fmt.Sprintf("%s/%d", l.Proto, l.Port) }

// MarshalText returns String.
func (l Listener) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// MarshalText returns String.
func (r Resolver) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String returns the resolver as it is written in the file.
func (r Resolver) String() string {
	if !r.TLS {
		return r.Addr.String()
	}
	s := "tls://" + r.Addr.String()
	if r.TLSName != "" {
		s += "#" + r.TLSName
	}
	return s
}

func valid(addrs ...netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}
