package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// request describes a client that connects. OpenVPN has verified its certificate against the
// authority and the revocation list.
type request struct {
	name, serial string
	remote       netip.AddrPort
	program      string // version and platform, as it says
	windows      bool
}

// parseRequest reads the variables of a CONNECT or REAUTH event.
func parseRequest(env map[string]string) request {
	r := request{name: env["common_name"], serial: normalSerial(env["tls_serial_hex_0"])}
	for _, prefix := range []string{"trusted_", "untrusted_"} {
		addr, err := netip.ParseAddr(env[prefix+"ip"])
		if err != nil {
			addr, err = netip.ParseAddr(env[prefix+"ip6"])
		}
		if err != nil {
			continue
		}
		var port uint16
		if _, err := fmt.Sscan(env[prefix+"port"], &port); err == nil {
			r.remote = netip.AddrPortFrom(addr.Unmap(), port)
			break
		}
	}
	r.program = printable(strings.TrimSpace(env["IV_VER"]+" "+env["IV_PLAT"]), 60)
	r.windows = env["IV_PLAT"] == "win"
	return r
}

// normalSerial turns openvpn's "0A:4f:…" into the registry's form.
func normalSerial(s string) string {
	return strings.TrimLeft(strings.ToLower(strings.ReplaceAll(s, ":", "")), "0")
}

// printable drops control and non-ASCII characters of untrusted text and cuts it to limit bytes.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), limit)]
}

// denial holds why a client is refused, for the log and for the client. It is an error.
type denial struct {
	reason string // for the operator
	public string // for the client's user
}

func (d *denial) Error() string { return d.reason }

// checkAccess returns why a client may not connect or stay, or nil if it may.
func checkAccess(r request, c Client, lookup error, now time.Time) *denial {
	switch {
	case errors.Is(lookup, ErrUnknownClient):
		return &denial{"unknown client", "this profile is not known here; ask for a new one"}
	case errors.Is(lookup, ErrNotReady):
		return &denial{"its rules are not in force", "the server has a problem; try again later"}
	case lookup != nil:
		return &denial{"the key store cannot be read", "the server has a problem; try again later"}
	case c.Revoked:
		return &denial{"revoked", "this profile was revoked"}
	case c.Serial != r.serial:
		return &denial{"superseded certificate", "this profile was replaced by a newer one"}
	case !now.Before(c.Expires):
		return &denial{"expired", "this profile has expired; ask for a new one"}
	}
	return nil
}

// clientSettings returns the options of an admitted client, as in a client-connect file, and its
// addresses.
func clientSettings(c Client, r request, l Listener, dns []netip.Addr,
	networks []netip.Prefix) ([]string, []netip.Addr, error) {
	addrs, err := l.Pool.Client(c.Host)
	if err != nil {
		return nil, nil, err
	}
	lines := []string{
		fmt.Sprintf("ifconfig-push %s %s", addrs[0], netmask(l.Pool.V4)),
		fmt.Sprintf("ifconfig-ipv6-push %s/%d %s", addrs[1], l.Pool.V6.Bits(),
			l.Pool.Server()[1].Addr()),
	}
	for _, n := range networks {
		if !slices.Contains(l.Pool.Prefixes(), n) { // its route comes with the address
			lines = append(lines, pushRoute(n))
		}
	}
	if !c.NetworkOnly {
		lines = append(lines, `push "redirect-gateway def1 ipv6"`)
	}
	if c.NoDNS || len(dns) == 0 {
		return lines, addrs, nil
	}
	for _, a := range dns {
		lines = append(lines, fmt.Sprintf(`push "dhcp-option DNS %s"`, a))
		if c.NetworkOnly {
			lines = append(lines, pushRoute(netip.PrefixFrom(a, a.BitLen())))
		}
	}
	if !c.NetworkOnly && r.windows {
		// Windows would also ask the resolvers of the local network.
		lines = append(lines, `push "block-outside-dns"`)
	}
	return lines, addrs, nil
}

func pushRoute(p netip.Prefix) string {
	p = p.Masked()
	if p.Addr().Is4() {
		return fmt.Sprintf(`push "route %s %s"`, p.Addr(), netmask(p))
	}
	return fmt.Sprintf(`push "route-ipv6 %s"`, p)
}

func netmask(p netip.Prefix) string { return net.IP(net.CIDRMask(p.Bits(), 32)).String() }
