package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"ztbridge/bridge/zerotier"
)

// settings are a network's settings as Central v1 and the box's own controller write them. A nil
// field is not sent.
type settings struct {
	Name    *string            `json:"name,omitempty"`
	Private *bool              `json:"private,omitempty"`
	Routes  *[]json.RawMessage `json:"routes,omitempty"`
	Pools   *[]json.RawMessage `json:"ipAssignmentPools,omitempty"`
	V4      *v4Mode            `json:"v4AssignMode,omitempty"`
	V6      *v6Modes           `json:"v6AssignMode,omitempty"`
	DNS     json.RawMessage    `json:"dns,omitempty"` // an object, or [] where none was ever set
}

// settingsV2 are those of Central v2.
type settingsV2 struct {
	Private *bool              `json:"private,omitempty"`
	Routes  *[]json.RawMessage `json:"routes,omitempty"`
	Pools   *[]json.RawMessage `json:"v4IpAssignmentPools,omitempty"`
	Pools6  *[]json.RawMessage `json:"v6IpAssignmentPools,omitempty"`
	V4      *v4Mode            `json:"v4AssignmentMode,omitempty"`
	V6      *v6Modes           `json:"v6AssignmentMode,omitempty"`
	DNS     json.RawMessage    `json:"dns,omitempty"`
}

type (
	v4Mode struct {
		Zt bool `json:"zt"`
	}
	v6Modes struct {
		Zt       bool `json:"zt"`
		RFC4193  bool `json:"rfc4193"`
		SixPlane bool `json:"6plane"`
	}
	routeAnswer struct {
		Target string  `json:"target"`
		Via    *string `json:"via"`
	}
	poolAnswer struct {
		First string `json:"ipRangeStart"`
		Last  string `json:"ipRangeEnd"`
	}
	dnsAnswer struct {
		Domain  *string  `json:"domain"`
		Servers []string `json:"servers"`
	}
)

// decode fills a network with settings. It fails on a route, pool or resolver that it cannot read:
// what is not understood must not be lost when the list is written back.
func (s settings) decode(n *Network) (err error) {
	if s.Name != nil {
		n.Name = printable(*s.Name, "")
	}
	n.Private = s.Private == nil || *s.Private
	n.AssignV4 = s.V4 != nil && s.V4.Zt
	if s.V6 != nil {
		n.V6 = V6Modes{Pools: s.V6.Zt, RFC4193: s.V6.RFC4193, SixPlane: s.V6.SixPlane}
	}
	if n.Routes, err = decodeList(s.Routes, decodeRoute); err != nil {
		return fmt.Errorf("reading the routes of network %s: %w", n.ID, err)
	}
	if n.Pools, err = decodeList(s.Pools, decodePool); err != nil {
		return fmt.Errorf("reading the address pools of network %s: %w", n.ID, err)
	}
	if n.DNS, err = decodeDNS(s.DNS); err != nil {
		return fmt.Errorf("reading the DNS servers of network %s: %w", n.ID, err)
	}
	return nil
}

// errNoSettings: a network's settings are not in the answer, and must not be taken for empty.
var errNoSettings = fmt.Errorf("reading a network: %w: it has no settings", ErrUnexpected)

func decodeList[T any](list *[]json.RawMessage, one func(json.RawMessage) (T, error)) ([]T, error) {
	if list == nil {
		return nil, nil
	}
	var out []T
	for _, raw := range *list {
		v, err := one(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func decodeRoute(raw json.RawMessage) (Route, error) {
	var a routeAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return Route{}, err
	}
	target, err := netip.ParsePrefix(a.Target)
	if err != nil {
		return Route{}, err
	}
	r := Route{Target: target.Masked(), raw: raw}
	if a.Via != nil && *a.Via != "" {
		r.Via, err = netip.ParseAddr(*a.Via)
	}
	return r, err
}

func decodePool(raw json.RawMessage) (p Pool, err error) {
	var a poolAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return Pool{}, err
	}
	p.raw = raw
	if p.First, err = netip.ParseAddr(a.First); err != nil {
		return p, err
	}
	p.Last, err = netip.ParseAddr(a.Last)
	return p, err
}

// decodeDNS reads an object; null and [] are none.
func decodeDNS(raw json.RawMessage) (DNS, error) {
	var none []any
	if len(raw) == 0 || json.Unmarshal(raw, &none) == nil && len(none) == 0 {
		return DNS{}, nil
	}
	var a dnsAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return DNS{}, err
	}
	var out DNS
	if a.Domain != nil {
		out.Domain = *a.Domain
	}
	var err error
	out.Servers, err = parseAddrs(a.Servers)
	return out, err
}

func parseAddrs(texts []string) (out []netip.Addr, err error) {
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// changed returns the settings in which after differs from before.
func changed(before, after Network) (s settings, err error) {
	if before.Name != after.Name {
		s.Name = &after.Name
	}
	if !slices.EqualFunc(before.Routes, after.Routes, Route.same) {
		if s.Routes, err = encodeList(after.Routes, encodeRoute); err != nil {
			return s, err
		}
	}
	if !slices.EqualFunc(before.Pools, after.Pools, Pool.same) {
		if s.Pools, err = encodeList(after.Pools, encodePool); err != nil {
			return s, err
		}
	}
	if before.AssignV4 != after.AssignV4 {
		s.V4 = &v4Mode{after.AssignV4}
	}
	if before.V6 != after.V6 {
		s.V6 = &v6Modes{after.V6.Pools, after.V6.RFC4193, after.V6.SixPlane}
	}
	if !before.DNS.same(after.DNS) {
		texts := make([]string, 0, len(after.DNS.Servers)) // [] and not null when there is none
		for _, a := range after.DNS.Servers {
			texts = append(texts, a.String())
		}
		s.DNS, err = json.Marshal(dnsAnswer{&after.DNS.Domain, texts})
	}
	return s, err
}

func encodeList[T any](list []T, one func(T) (json.RawMessage, error)) (*[]json.RawMessage, error) {
	out := []json.RawMessage{} // [] and not null: a list that became empty is sent
	for _, v := range list {
		raw, err := one(v)
		if err != nil {
			return nil, err
		}
		out = append(out, raw)
	}
	return &out, nil
}

func encodeRoute(r Route) (json.RawMessage, error) {
	if r.raw != nil {
		return r.raw, nil
	}
	a := routeAnswer{Target: r.Target.String()}
	if r.Via.IsValid() {
		text := r.Via.String()
		a.Via = &text
	}
	return json.Marshal(a)
}

func encodePool(p Pool) (json.RawMessage, error) {
	if p.raw != nil {
		return p.raw, nil
	}
	return json.Marshal(poolAnswer{p.First.String(), p.Last.String()})
}

// list reads an array, or an object that holds one under "items" or "data".
func list[T any](raw json.RawMessage) ([]T, error) {
	if text := bytes.TrimSpace(raw); len(text) == 0 || text[0] != '{' {
		var out []T
		return out, decode(raw, &out)
	}
	var keys map[string]json.RawMessage
	err := decode(raw, &keys)
	for _, key := range []string{"items", "data"} {
		if held, there := keys[key]; there && err == nil {
			var out []T
			return out, decode(held, &out)
		}
	}
	if err == nil && len(keys) > 0 {
		err = fmt.Errorf("%w: it is no list", ErrUnexpected)
	}
	return nil, err
}

func networkPath(id zerotier.NetworkID) string { return "/network/" + id.String() }

func memberPath(id zerotier.NetworkID, a zerotier.Address) string {
	return networkPath(id) + "/member/" + a.String()
}

// doer sends one request to a controller, and decodes the reply into out unless that is nil.
type doer interface {
	do(ctx context.Context, method, path string, in, out any) error
}

// wireNetwork is a network as one controller writes it.
type wireNetwork interface{ network() (Network, error) }

// askNetwork sends a request whose reply is a network: the one that is named, or a new one if id is
// zero.
func askNetwork[N wireNetwork](ctx context.Context, c doer, method, path string,
	id zerotier.NetworkID, in any) (Network, error) {
	var n N
	if err := c.do(ctx, method, path, in, &n); err != nil {
		return Network{}, err
	}
	out, err := n.network()
	if err == nil && (out.ID == 0 || id != 0 && out.ID != id) {
		err = fmt.Errorf("asking the controller: %s %s: %w: it is about network %s", method, path,
			ErrUnexpected, out.ID)
	}
	return out, err
}

// networks decodes a list of networks.
func networks[N wireNetwork](list []N) ([]Network, error) {
	var out []Network
	for _, n := range list {
		decoded, err := n.network()
		if err == nil && decoded.ID == 0 {
			err = fmt.Errorf("reading the list of networks: %w: one has no id", ErrUnexpected)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, decoded)
	}
	return out, nil
}

// memberOf returns what a controller tells of a member, with its addresses.
func memberOf(a zerotier.Address, name string, authorized bool, addrs []string) (Member, error) {
	m := Member{Address: a, Name: printable(name, ""), Authorized: authorized}
	if a == 0 {
		return m, fmt.Errorf("reading the members: %w: one has no address", ErrUnexpected)
	}
	var err error
	if m.Addrs, err = parseAddrs(addrs); err != nil {
		return m, fmt.Errorf("reading the addresses of member %s: %w", a, err)
	}
	return m, nil
}

// withoutRepeats removes members that a list names again.
func withoutRepeats(members []Member) []Member {
	seen := map[zerotier.Address]bool{}
	return slices.DeleteFunc(members, func(m Member) bool {
		again := seen[m.Address]
		seen[m.Address] = true
		return again
	})
}
