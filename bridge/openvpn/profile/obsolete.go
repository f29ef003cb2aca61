package profile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// takeKeySize notes the length of keys, which OpenVPN 2.6 no longer lets choose.
func takeKeySize(p *parser, d directive) error {
	args, err := canonical(d, 1, []check{number(0, 512)})
	if err != nil {
		return err
	}
	p.find(d, Info, "has no effect on a client of OpenVPN 2.6")
	p.keySize, err = strconv.Atoi(args[0])
	return err
}

// takeKeyMethod refuses the method that no version since 2.5 has: both ends must have the same.
func takeKeyMethod(_ *parser, d directive) error {
	if len(d.args) != 1 || d.args[0] != "2" {
		return fmt.Errorf("only method 2 exists in OpenVPN 2.6; ask the provider for a profile " +
			"for it")
	}
	return nil
}

var version = regexp.MustCompile(`^(\d)\.(\d)(\.\d+)?$`)

// takeCompatMode takes over what it changes for a client: the default cipher before 2.4. The rest
// this package decides for all profiles.
func takeCompatMode(p *parser, d directive) error {
	if len(d.args) != 1 || !version.MatchString(d.args[0]) {
		return fmt.Errorf("expected a version of OpenVPN, as in compat-mode 2.4.0")
	}
	p.old = d.args[0] < "2.4"
	p.find(d, Info, "but for the default cipher, what it changes is decided by ztbridge")
	return nil
}

// takeUDPMTU reads the old name of link-mtu.
func takeUDPMTU(p *parser, d directive) error {
	d.name = "link-mtu"
	return p.rules[d.name].take(p, d)
}

// takeLocalPort notes the port of this end, which only a point-to-point tunnel has.
func takeLocalPort(p *parser, d directive) error {
	args, err := canonical(d, 1, []check{number(0, 65535)})
	if err != nil {
		return err
	}
	p.localPort, err = strconv.Atoi(args[0])
	return err
}

// maxFilters bounds the filters of pushed options; real profiles have fewer than twenty.
const maxFilters = 100

// takePullFilter keeps a filter of pushed options, in its order: the first that fits counts.
func takePullFilter(p *parser, d directive) error {
	if len(d.args) != 2 || len(d.args[1]) > 200 {
		return fmt.Errorf("expected: pull-filter accept|ignore|reject \"text\"")
	}
	if len(p.profile.options[d.name]) == maxFilters {
		return fmt.Errorf("there are more than %d of them", maxFilters)
	}
	switch d.args[0] {
	case "accept", "ignore", "reject":
		p.add(d.name, d.args...)
	default:
		return fmt.Errorf("%q is none of accept, ignore and reject", d.args[0])
	}
	return nil
}

// admitted returns filters that admit what both the profile's and ours do, where ours are the
// beginnings of options that may be taken. An "accept" of the profile's that is wider than ours
// accepts only what both name; OpenVPN looks at no further filter then.
func admitted(filters [][]string, ours []string) [][]string {
	var out [][]string
	for _, f := range filters {
		if f[0] != "accept" {
			out = append(out, f)
			continue
		}
		for _, o := range ours {
			if strings.HasPrefix(o, f[1]) || strings.HasPrefix(f[1], o) {
				out = append(out, []string{"accept", max(o, f[1])}) // the longer
			}
		}
		out = append(out, []string{"ignore", f[1]})
	}
	for _, o := range ours {
		out = append(out, []string{"accept", o})
	}
	return append(out, []string{"ignore", ""})
}

// dnsServer is what "dns server N" lines say of one resolver.
type dnsServer struct {
	addrs          []string
	transport, sni string
}

// takeDNS notes the resolvers of "dns server N address A…", and how they are to be asked.
func takeDNS(p *parser, d directive) error {
	if len(d.args) < 4 || d.args[0] != "server" {
		p.find(d, Info, "only the addresses of resolvers are used")
		return nil
	}
	n, err := strconv.Atoi(d.args[1])
	if err != nil {
		return fmt.Errorf("%q is not the number of a resolver", d.args[1])
	}
	if p.dns[n] == nil {
		p.dns[n] = &dnsServer{}
	}
	switch s := p.dns[n]; d.args[2] {
	case "transport":
		s.transport = d.args[3]
	case "sni":
		s.sni = d.args[3]
	case "address":
		for _, text := range d.args[3:] {
			addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
			if ap, portErr := netip.ParseAddrPort(text); portErr == nil && ap.Port() == 53 {
				addr, err = ap.Addr(), nil
			}
			if err != nil || addr.Zone() != "" {
				p.find(d, Info, "%q is not the address of a resolver at port 53", text)
				continue
			}
			s.addrs = append(s.addrs, addr.Unmap().String())
		}
	default:
		p.find(d, Info, "only the addresses of resolvers are used")
	}
	return nil
}

// finishDNS keeps the resolvers as dhcp-option does, ahead of those. One that is to be asked over
// TLS is not asked in clear.
func (p *parser) finishDNS() {
	options := p.profile.options
	later := options["dhcp-option"]
	delete(options, "dhcp-option")
	for _, n := range slices.Sorted(maps.Keys(p.dns)) {
		s := p.dns[n]
		encrypted := s.transport != "" && !strings.EqualFold(s.transport, "plain")
		for _, addr := range s.addrs {
			if !encrypted {
				p.add("dhcp-option", "DNS", addr)
				continue
			}
			p.find(directive{name: "dns"}, Warning, "the resolver %s is to be asked by %s, and is "+
				"not used in clear; to use it, write dns: [\"tls://%[1]s#%s\"] for this exit", addr,
				s.transport, cmp.Or(s.sni, "NAME"))
		}
	}
	for _, args := range later {
		p.add("dhcp-option", args...)
	}
}
