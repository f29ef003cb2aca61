package profile

import (
	"maps"
	"slices"
)

// settings are options and blocks that openvpn is given.
type settings struct {
	options map[string][][]string // by name, each time with its arguments
	blocks  map[string]string     // by name, canonical body
}

func newSettings() settings {
	return settings{options: map[string][][]string{}, blocks: map[string]string{}}
}

// has reports whether one of the names is set.
func (s settings) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		return s.blocks[n] != "" || s.options[n] != nil
	})
}

// first returns an option's first argument, or "".
func (s settings) first(name string) string {
	if all := s.options[name]; len(all) > 0 && len(all[0]) > 0 {
		return all[0][0]
	}
	return ""
}

// controlKeys are the blocks that wrap the control channel. A server knows one of them.
var controlKeys = []string{"tls-auth", "tls-crypt", "tls-crypt-v2"}

// perServer are the names of settings that a <connection> block may hold for its server alone.
var perServer = map[string]bool{
	"explicit-exit-notify": true, "float": true, "fragment": true, "http-proxy": true,
	"http-proxy-option": true, "key-direction": true, "link-mtu": true, "max-packet-size": true,
	"mssfix": true, "socks-proxy": true, "tls-auth": true, "tls-crypt": true,
	"tls-crypt-v2": true, "tun-mtu": true, "tun-mtu-extra": true, "tun-mtu-max": true,
}

// inherited returns what a <connection> block begins with: what stands before it in the profile.
// Control channel keys follow at the end of the profile (inheritKeys).
func (s settings) inherited() settings {
	out := newSettings()
	for name, args := range s.options {
		if perServer[name] && name != "key-direction" {
			out.options[name] = args
		}
	}
	return out
}

// inheritKeys gives a connection without a control channel key the profile's, as OpenVPN does.
func (s settings) inheritKeys(base settings) {
	if s.has(controlKeys...) {
		return
	}
	for _, name := range controlKeys {
		if body := base.blocks[name]; body != "" {
			s.blocks[name] = body
		}
	}
	if direction := base.options["key-direction"]; direction != nil {
		s.options["key-direction"] = direction
	}
}

// part returns the settings that are a server's own, or those that are not.
func (s settings) part(own bool) settings {
	out := settings{options: maps.Clone(s.options), blocks: maps.Clone(s.blocks)}
	maps.DeleteFunc(out.options, func(n string, _ [][]string) bool { return perServer[n] != own })
	maps.DeleteFunc(out.blocks, func(n string, _ string) bool { return perServer[n] != own })
	return out
}

// equal reports whether both hold the same.
func (s settings) equal(o settings) bool {
	return maps.EqualFunc(s.options, o.options, func(a, b [][]string) bool {
		return slices.EqualFunc(a, b, slices.Equal)
	}) && maps.Equal(s.blocks, o.blocks)
}

// suited returns the settings as OpenVPN accepts them for one transport.
func (s settings) suited(proto Proto) settings {
	if proto == UDP || s.options["fragment"] == nil {
		return s
	}
	out := settings{options: maps.Clone(s.options), blocks: s.blocks}
	delete(out.options, "fragment")
	return out
}
