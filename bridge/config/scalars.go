package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A name is used in file names, in nft's comments and on the command line.
var nameRE = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// The names that clients may have, as the key store takes them.
var clientRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$`)

// name decodes a name that the user invents.
func (v value) name() string {
	text, ok := v.text()
	if ok {
		v.checkName(text)
	}
	return text
}

func (v value) checkName(text string) bool {
	if nameRE.MatchString(text) {
		return true
	}
	v.fail(ErrValue, fmt.Sprintf("%q is not a good name", text),
		"use up to 31 lower-case letters, digits and hyphens, a letter first")
	return false
}

// ifaceRE is narrower than the kernel's check, and no wider than policyroute's. Source:
// dev_valid_name, linux/net/core/dev.c. Such a name needs no quoting in rules, filters and
// commands.
var ifaceRE = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`)

// iface decodes the name of a network interface. It returns "" for what is none.
func (v value) iface() string {
	text, ok := v.text()
	switch {
	case !ok:
		return ""
	case !ifaceRE.MatchString(text) || text == "." || text == "..":
		v.fail(ErrValue,
			fmt.Sprintf("%q is not an interface name of letters, digits, `_`, `.` and `-`", text),
			"`ip -brief link` lists the interfaces; rename one that has other characters: ip "+
				"link set NAME name NEW")
		return ""
	case text == "lo" || strings.HasPrefix(text, "tunztb"):
		v.fail(ErrValue, fmt.Sprintf("%q belongs to the system or to ztbridge itself", text),
			"name an interface that traffic of others passes")
		return ""
	}
	return text
}

func (v value) boolean() bool {
	text, _ := v.oneOf("true", "false")
	return text == "true"
}

// parsed decodes a scalar by read, which reports whether it has the right form. Else it is a
// mistake that quotes the scalar before problem.
func parsed[T any](v value, read func(text string) (T, bool), problem, remedy string) (T, bool) {
	text, ok := v.text()
	if !ok {
		return *new(T), false
	}
	out, ok := read(text)
	if !ok {
		v.fail(ErrValue, fmt.Sprintf("%q %s", text, problem), remedy)
		return *new(T), false
	}
	return out, true
}

func (v value) addr() (netip.Addr, bool) {
	return parsed(v, func(text string) (netip.Addr, bool) {
		addr, err := netip.ParseAddr(text)
		return addr, err == nil && unicast(addr)
	}, "is not the address of a host", "write it as 192.0.2.1 or 2001:db8::1")
}

// unicast refuses what names no single host that packets can be sent to.
func unicast(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() &&
		!a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// prefix decodes a prefix, or an address as a prefix of full length.
func (v value) prefix() (netip.Prefix, bool) {
	text, ok := v.text()
	if !ok {
		return netip.Prefix{}, false
	}
	if !strings.Contains(text, "/") {
		addr, ok := v.addr()
		if !ok {
			return netip.Prefix{}, false
		}
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || p.Addr().Is4In6():
		v.fail(ErrValue, fmt.Sprintf("%q is not a prefix", text),
			"write it as 192.0.2.0/24 or 2001:db8::/64")
		return netip.Prefix{}, false
	case p != p.Masked():
		v.fail(ErrValue, fmt.Sprintf("%q mixes one address with a whole network", text),
			fmt.Sprintf("write %s (the network) or %s (this device)", p.Masked(), p.Addr()))
		return netip.Prefix{}, false
	case p.Addr().IsMulticast() || p.Addr().IsLoopback():
		v.fail(ErrValue, fmt.Sprintf("%q is not a prefix of hosts", text), "")
		return netip.Prefix{}, false
	}
	return p, true
}

// prefixes decodes the elements of a list of prefixes, none of which overlaps another.
func prefixes(items []value) []netip.Prefix {
	var list []netip.Prefix
	for _, item := range items {
		p, ok := item.prefix()
		if !ok {
			continue
		}
		for _, other := range list {
			if p.Overlaps(other) {
				item.fail(ErrOverlap, fmt.Sprintf("%s overlaps %s in the same list", p, other),
					"remove the smaller of the two")
				ok = false
				break
			}
		}
		if ok {
			list = append(list, p)
		}
	}
	return list
}

func (v value) duration(least, most time.Duration) (time.Duration, bool) {
	return parsed(v, func(text string) (time.Duration, bool) {
		d, err := time.ParseDuration(text)
		return d, err == nil && d >= least && d <= most
	}, fmt.Sprintf("is not a duration from %s to %s", least, most), "write it as 500ms, 30s or 5m")
}

func (v value) port(text string) (uint16, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		v.fail(ErrValue, fmt.Sprintf("%q is not a port", text), "write a number from 1 to 65535")
		return 0, false
	}
	return uint16(n), true
}

// path decodes a file name. In the file it is relative to the file, in a variable or a flag to the
// working directory, as the person who typed it there expects.
func (v value) path() (string, bool) {
	text, ok := v.text()
	if !ok {
		return "", false
	}
	if strings.ContainsRune(text, 0) {
		v.fail(ErrValue, "a file name cannot contain a zero byte", "")
		return "", false
	}
	_, elsewhere := v.d.sources[v.node] // a variable or a flag
	if !elsewhere && !filepath.IsAbs(text) {
		text = filepath.Join(v.d.base, text)
	}
	abs, err := filepath.Abs(text)
	if err != nil {
		v.fail(ErrFile, fmt.Sprintf("the working directory is unknown: %v", err),
			"write the absolute path")
		return "", false
	}
	if !elsewhere {
		v.d.paths = append(v.d.paths, namedPath{v.node, abs})
	}
	return abs, true
}

var hostRE = regexp.MustCompile(
	`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// host decodes a DNS name or an address.
func (v value) host() (string, bool) {
	return parsed(v, func(text string) (string, bool) {
		if addr, err := netip.ParseAddr(text); err == nil && unicast(addr) {
			return addr.String(), true
		}
		return text, len(text) <= 253 && hostRE.MatchString(text) && !numeric(text)
	}, "is neither a name nor an address",
		"write it as vm.example.org or 203.0.113.7, without a port")
}

// numeric reports whether a text looks like an IPv4 address, so that 203.0.113.700 is not taken for
// a name.
func numeric(text string) bool { return strings.Trim(text, "0123456789.") == "" }
