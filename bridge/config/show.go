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

// The views are the schema as it is written. flow keeps short things on one line.
type view struct {
	ZeroTier viewZeroTier    `yaml:"zerotier"`
	Ingress  []viewInterface `yaml:"ingress,omitempty"`
	Egress   *yaml.Node      `yaml:"egress,omitempty"`
	Policy   []viewRule      `yaml:"policy"`
	Inbound  []viewInbound   `yaml:"inbound,omitempty"`
	Peering  []viewPeering   `yaml:"peering"`
	Endpoint *viewEndpoint   `yaml:"endpoint,omitempty"`
	Probe    viewProbe       `yaml:"probe"`
	Exit     []string        `yaml:"exit_address"`
	Updates  viewUpdates     `yaml:"updates"`
	Page     viewPage        `yaml:"page"`
	Metrics  *viewMetrics    `yaml:"metrics,omitempty"`
	History  bool            `yaml:"history"`
	Notify   *viewNotify     `yaml:"notify,omitempty"`
}

type viewMetrics struct {
	Listen       []string `yaml:"listen,flow"`
	Username     string   `yaml:"username,omitempty"`
	PasswordFile string   `yaml:"password_file,omitempty"`
}

type viewUpdates struct {
	Channel string `yaml:"channel,omitempty"`
	Window  string `yaml:"window"`
}

type viewPage struct {
	Serve     string `yaml:"serve"`
	Port      uint16 `yaml:"port"`
	HTTPSPort uint16 `yaml:"https_port"`
}

type viewZeroTier struct {
	Home     string        `yaml:"home"`
	Networks []viewNetwork `yaml:"networks,omitempty"`
	Orbit    []string      `yaml:"orbit,omitempty,flow"`
	Moon     *viewMoon     `yaml:"moon,omitempty,flow"`
}

type viewNetwork struct {
	ID          string `yaml:"id"`
	Name        string `yaml:"name,omitempty"`
	AllowGlobal bool   `yaml:"allow_global"`
}

type viewMoon struct {
	Endpoints []string `yaml:"endpoints"`
}

type viewInterface struct {
	Interface string         `yaml:"interface"`
	Name      string         `yaml:"name,omitempty"`
	Prefixes  []netip.Prefix `yaml:"prefixes,omitempty,flow"`
}

type viewOpenVPN struct {
	Profile     string   `yaml:"profile,omitempty"`
	Profiles    string   `yaml:"profiles,omitempty"`
	Pick        []string `yaml:"pick,omitempty,flow"`
	Order       string   `yaml:"order,omitempty"`
	Rotate      string   `yaml:"rotate,omitempty"`
	Credentials string   `yaml:"credentials,omitempty"`
	DNS         []string `yaml:"dns,omitempty,flow"`

	LegacyCrypto bool     `yaml:"legacy_crypto,omitempty"`
	Ciphers      []string `yaml:"ciphers,omitempty,flow"`
}

type viewPeer struct {
	Network string       `yaml:"network"`
	Via     []netip.Addr `yaml:"via,flow"`
	DNS     []string     `yaml:"dns,omitempty,flow"`
}

type viewWAN struct {
	Interface string   `yaml:"interface,omitempty"`
	SNAT      string   `yaml:"snat,omitempty"`
	IPv6      any      `yaml:"ipv6,flow"`
	DNS       []string `yaml:"dns,omitempty,flow"`
	Shape     string   `yaml:"shape,omitempty"`
}

type viewPrefix struct {
	Prefix netip.Prefix `yaml:"prefix"`
	NDP    bool         `yaml:"ndp"`
}

type viewRule struct {
	From   []string       `yaml:"from,flow"`
	To     []netip.Prefix `yaml:"to,omitempty,flow"`
	At     []string       `yaml:"at,omitempty,flow"`
	Choose []string       `yaml:"choose,omitempty,flow"`
	Egress []string       `yaml:"egress,omitempty,flow"`
}

type viewInbound struct {
	Egress string       `yaml:"egress"`
	To     netip.Prefix `yaml:"to"`
	TCP    any          `yaml:"tcp,omitempty,flow"`
	UDP    any          `yaml:"udp,omitempty,flow"`
}

type viewPeering struct {
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

type viewEndpoint struct {
	Listen  []string     `yaml:"listen,flow"`
	Address string       `yaml:"address"`
	Pool    netip.Prefix `yaml:"pool"`
	Pool6   netip.Prefix `yaml:"pool6"`
	Clients viewClients  `yaml:"clients"`
	HTTPS   *viewHTTPS   `yaml:"https,omitempty"`
}

type viewClients struct {
	Tunnel TunnelMode `yaml:"tunnel"`
	DNS    bool       `yaml:"dns"`
}

type viewHTTPS struct {
	Certificate string    `yaml:"certificate,omitempty"`
	Key         string    `yaml:"key,omitempty"`
	ACME        *viewACME `yaml:"acme,omitempty"`
}

type viewACME struct {
	Email     string `yaml:"email,omitempty"`
	Directory string `yaml:"directory"`
}

type viewProbe struct {
	Targets  []netip.Addr  `yaml:"targets,flow"`
	Interval time.Duration `yaml:"interval"`
	HoldDown time.Duration `yaml:"hold_down"`
}

func (c *Config) view() view {
	v := view{
		ZeroTier: viewZeroTier{Home: c.ZeroTier.Home, Orbit: c.ZeroTier.Orbit},
		Egress:   c.viewEgresses(),
		Policy:   []viewRule{}, // empty refuses everything, while without the key all tunnels serve
		Peering:  []viewPeering{},
		Endpoint: c.viewEndpoint(),
		Probe:    viewProbe(c.Probe),
		Exit:     c.ExitAddress,
		Updates:  viewUpdates{c.Updates.Channel, c.Updates.Window.String()},
		Page:     viewPage(c.Page),
		Metrics:  c.viewMetrics(),
		History:  c.History,
		Notify:   c.Notify.view(),
	}
	if len(v.Exit) == 0 {
		v.Exit = []string{exitOff}
	}
	for _, n := range c.ZeroTier.Networks {
		v.ZeroTier.Networks = append(v.ZeroTier.Networks,
			viewNetwork{n.ID, unless(n.Name, n.ID), n.AllowGlobal})
	}
	if m := c.ZeroTier.Moon; m != nil {
		v.ZeroTier.Moon = &viewMoon{texts(m.Endpoints)}
	}
	for _, i := range c.Interfaces {
		v.Ingress = append(v.Ingress, viewInterface{i.Iface, unless(i.Name, i.Iface), i.Prefixes})
	}
	for _, r := range c.Policy {
		v.Policy = append(v.Policy, r.view())
	}
	for _, in := range c.Inbound {
		v.Inbound = append(v.Inbound, viewInbound{in.Egress, in.To, in.TCP.view(), in.UDP.view()})
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

func (c *Config) viewEgresses() *yaml.Node {
	if len(c.Egresses) == 0 {
		return nil
	}
	node := &yaml.Node{Kind: yaml.MappingNode} // a Go map would lose the order
	for _, e := range c.Egresses {
		var kind any
		switch dns := texts(e.DNS); {
		case e.OpenVPN != nil:
			o := viewOpenVPN{Profile: e.OpenVPN.Profile, DNS: dns,
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
			kind = viewPeer{e.Peer.Network, valid(e.Peer.Via4, e.Peer.Via6), dns}
		default:
			kind = e.WAN.view(dns)
		}
		var body yaml.Node
		if err := body.Encode(map[string]any{e.Kind(): kind}); err != nil {
			panic(err) // values of our own types
		}
		node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: e.Name}, &body)
	}
	return node
}

func (w *WAN) view(dns []string) viewWAN {
	v := viewWAN{Interface: w.Interface, IPv6: w.IPv6.Mode, DNS: dns}
	if w.SNAT.IsValid() {
		v.SNAT = w.SNAT.String()
	}
	if w.Shape > 0 {
		v.Shape = strconv.FormatFloat(float64(w.Shape)/1e6, 'f', -1, 64) + "mbit"
	}
	if w.IPv6.Mode == IPv6Prefix {
		v.IPv6 = viewPrefix{w.IPv6.Prefix, w.IPv6.NDP}
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

func (p Ports) view() any {
	switch {
	case p.All:
		return "all"
	case len(p.List) > 0:
		return p.List
	}
	return nil
}

func (c *Config) viewMetrics() *viewMetrics {
	if len(c.Metrics.Listen) == 0 {
		return nil
	}
	v := &viewMetrics{Username: c.Metrics.Username, PasswordFile: c.Metrics.PasswordFile}
	for _, at := range c.Metrics.Listen {
		v.Listen = append(v.Listen, at.String())
	}
	return v
}

func (c *Config) viewEndpoint() *viewEndpoint {
	e := c.Endpoint
	if e == nil {
		return nil
	}
	v := &viewEndpoint{
		Listen: texts(e.Listen), Address: e.Address, Pool: e.Pool4, Pool6: e.Pool6,
		Clients: viewClients(e.Clients),
	}
	if h := e.HTTPS; h != (HTTPS{}) {
		v.HTTPS = &viewHTTPS{Certificate: h.Certificate, Key: h.Key}
		if h.ACME != nil {
			acme := viewACME(*h.ACME)
			v.HTTPS.ACME = &acme
		}
	}
	return v
}

// String returns "tcp/443".
func (l Listener) String() string { return fmt.Sprintf("%s/%d", l.Proto, l.Port) }

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

func texts[T fmt.Stringer](list []T) []string {
	var out []string
	for _, item := range list {
		out = append(out, item.String())
	}
	return out
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

func unless(name, fallback string) string {
	if name == fallback {
		return ""
	}
	return name
}
