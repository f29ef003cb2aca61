package client

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
)

const (
	minMTU  = 576  // IPv4's (RFC 791)
	minMTU6 = 1280 // IPv6's (RFC 8200); Linux takes IPv6 away from a link with less
	maxMTU  = 9000 // beyond jumbo frames no server has a reason
	defMTU  = 1500

	// maxDNS is how many resolvers are used.
	maxDNS = 4
)

// parseSession reads the settings that a server pushed from the environment of openvpn's UPDOWN
// event, and checks them. The server chooses everything in it. What merely makes no sense is
// corrected with a warning; an address of this host's own subnets is an error, because it would
// land in the table local and take over the host's traffic to it.
func parseSession(env map[string]string, forbidden []netip.Prefix) (*Session, []string, error) {
	s := &Session{}
	var warnings []string
	warn := func(format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf(format, args...))
	}

	if err := s.takeAddrs(env, forbidden, warn); err != nil {
		return nil, nil, err
	}
	s.takeMTU(env["tun_mtu"], warn)
	if s.IPv6() && s.MTU < minMTU6 {
		warn("the server assigned IPv6 with an MTU of %d, which IPv6 forbids; IPv6 is not used",
			s.MTU)
		s.Addrs = slices.DeleteFunc(s.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
		if len(s.Addrs) == 0 {
			return nil, nil, fmt.Errorf("the server assigned only IPv6, with an MTU of %d", s.MTU)
		}
	}
	s.Gateway4 = gateway(env["route_vpn_gateway"], env["ifconfig_remote"])
	s.Gateway6 = gateway(env["ifconfig_ipv6_remote"])
	s.takeDNS(env, forbidden, warn)
	return s, warnings, nil
}

func (s *Session) takeAddrs(env map[string]string, forbidden []netip.Prefix,
	warn func(string, ...any)) error {
	if text := env["ifconfig_local"]; text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil || !a.Is4() {
			return fmt.Errorf("the server assigned %q, which is not an IPv4 address", text)
		}
		s.Addrs = append(s.Addrs, netip.PrefixFrom(a, maskBits(env["ifconfig_netmask"])))
	}
	if text := env["ifconfig_ipv6_local"]; text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("the server assigned %q, which is not an IPv6 address", text)
		}
		length, err := strconv.Atoi(env["ifconfig_ipv6_netbits"])
		if err != nil || length < 1 || length > 128 {
			length = 128
		}
		s.Addrs = append(s.Addrs, netip.PrefixFrom(a, length))
	}
	if len(s.Addrs) == 0 {
		return errors.New("the server assigned no address")
	}
	for _, p := range s.Addrs {
		if err := checkAddr(p.Addr(), forbidden, warn); err != nil {
			return err
		}
	}
	return nil
}

// Networks with fewer bits are so wide that hardly any machine has the very address that a server
// assigns in them. That address alone is taken over: it is set without a prefix route.
const (
	wide4 = 16
	wide6 = 64
)

// checkAddr refuses an address that this host cannot safely take as its own. One out of a wide
// network is taken with a warning.
func checkAddr(a netip.Addr, forbidden []netip.Prefix, warn func(string, ...any)) error {
	if !unicast(a) || a.IsLinkLocalUnicast() {
		return fmt.Errorf("the server assigned %s, which is not an address of a host", a)
	}
	for _, f := range forbidden {
		if !f.Contains(a) {
			continue
		}
		if !wide(f) {
			return fmt.Errorf("the server assigned %s, which lies in this host's own network %s", a,
				f.Masked())
		}
		warn("the server assigned %s, which lies in this host's own network %s: a machine there "+
			"with this one address is not reached while the tunnel is up", a, f.Masked())
	}
	return nil
}

func wide(p netip.Prefix) bool {
	return p.Addr().Is4() && p.Bits() < wide4 || p.Addr().Is6() && p.Bits() < wide6
}

// unicast reports whether a can be the address of one host.
func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() &&
		!a.IsMulticast() && !a.IsLoopback() && (!a.Is4() || a.As4()[0] != 0 && a.As4()[0] < 240)
}

// maskBits returns the length of a netmask; 32 where there is none (topology net30) or it has
// holes.
func maskBits(mask string) int {
	a, err := netip.ParseAddr(mask)
	if err != nil || !a.Is4() {
		return 32
	}
	b := a.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := bits.LeadingZeros32(^v)
	if n == 0 || v<<n != 0 {
		return 32
	}
	return n
}

func (s *Session) takeMTU(text string, warn func(string, ...any)) {
	n, err := strconv.Atoi(text)
	switch {
	case text == "":
		s.MTU = defMTU
	case err != nil || n > maxMTU:
		warn("the server set an MTU of %.10q; %d is used", text, defMTU)
		s.MTU = defMTU
	case n < minMTU:
		warn("the server set an MTU of %d; %d is used", n, minMTU)
		s.MTU = minMTU
	default:
		s.MTU = n
	}
}

// gateway returns the first of the texts that is an address of a host, or the zero Addr.
func gateway(texts ...string) netip.Addr {
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && unicast(a) {
			return a
		}
	}
	return netip.Addr{}
}

// takeDNS reads "dhcp-option DNS a" from foreign_option_N and "dns server" options from
// dns_server_N_address_M; the latter come first, as in OpenVPN.
func (s *Session) takeDNS(env map[string]string, forbidden []netip.Prefix,
	warn func(string, ...any)) {
	keys := make([]string, 0, len(env))
	for k := range env {
		if strings.HasPrefix(k, "foreign_option_") || strings.HasPrefix(k, "dns_server_") {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool { return dnsOrder(keys[i]) < dnsOrder(keys[j]) })
	for _, k := range keys {
		text := env[k]
		if strings.HasPrefix(k, "foreign_option_") {
			f := strings.Fields(text)
			if len(f) != 3 || f[0] != "dhcp-option" || f[1] != "DNS" && f[1] != "DNS6" {
				continue
			}
			text = f[2]
		} else if !strings.Contains(k, "_address_") ||
			env[strings.Replace(k, "_address_", "_port_", 1)] != "" {
			continue // a port of its own: not the plain DNS that clients speak
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(k, "dns_server_"), "_")
		if how := env["dns_server_"+number+"_transport"]; how != "" && how != "plain" {
			warn("the server's resolver %.40q is to be asked by %.10q, and is not used in clear",
				text, how)
			continue
		}
		a, err := netip.ParseAddr(text)
		inside := slices.ContainsFunc(forbidden, func(f netip.Prefix) bool {
			return err == nil && f.Contains(a) && !wide(f)
		})
		switch {
		case err != nil || !unicast(a) || a.IsLinkLocalUnicast() || inside:
			warn("the server named %.40q as a resolver, which cannot be one; ignored", text)
		case len(s.DNS) < maxDNS && !slices.Contains(s.DNS, a):
			s.DNS = append(s.DNS, a)
		}
	}
}

// dnsOrder makes keys that differ in their numbers alone sort by them.
func dnsOrder(key string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(key, "_") {
		if n, err := strconv.Atoi(part); err == nil {
			part = fmt.Sprintf("%06d", n)
		}
		b.WriteString(part + "_")
	}
	return b.String()
}
