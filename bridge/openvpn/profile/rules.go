package profile

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// check returns the canonical form of a word, or an error.
type check func(word string) (string, error)

// keep makes the rule of an option that is kept when it has at most max arguments that all pass
// their checks; the last check serves all further arguments, a nil one passes everything. An option
// that does not is dropped with a warning.
func keep(max int, checks ...check) rule {
	strict := required(max, checks...)
	return rule{class: kept, take: func(p *parser, d directive) error {
		if err := strict.take(p, d); err != nil {
			p.find(d, Warning, "%v; ignored", err)
		}
		return nil
	}}
}

// required is keep for what both ends of a tunnel must have alike, and for what verifies the
// server. A profile in which it cannot be read is refused: the tunnel would come up and carry
// nothing, or trust too much.
func required(max int, checks ...check) rule {
	return rule{class: kept, take: func(p *parser, d directive) error {
		args, err := canonical(d, max, checks)
		if err != nil {
			return err
		}
		p.set(d.name, args...)
		return nil
	}}
}

// canonical returns the canonical arguments of an option.
func canonical(d directive, max int, checks []check) ([]string, error) {
	if len(d.args) > max {
		return nil, fmt.Errorf("it has more than %d arguments", max)
	}
	optional := []string{"mssfix", "remote-cert-ku"}
	if max > 0 && len(d.args) == 0 && !slices.Contains(optional, d.name) {
		return nil, fmt.Errorf("it needs an argument")
	}
	args := make([]string, len(d.args))
	for i, a := range d.args {
		args[i] = a
		c := checks[min(i, len(checks)-1)]
		if c == nil {
			continue
		}
		var err error
		if args[i], err = c(a); err != nil {
			return nil, err
		}
	}
	return args, nil
}

func number(low, high int64) check {
	return func(w string) (string, error) {
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil || n < low || n > high {
			return "", fmt.Errorf("%q is not a number from %d to %d", w, low, high)
		}
		return strconv.FormatInt(n, 10), nil
	}
}

// words passes what matches the whole pattern.
func words(pattern string) check {
	re := regexp.MustCompile(`^(?:` + pattern + `)$`)
	return func(w string) (string, error) {
		if !re.MatchString(w) {
			return "", fmt.Errorf("%q is not of the expected form", w)
		}
		return w, nil
	}
}

func takeDev(p *parser, d directive) error {
	if len(d.args) > 0 && strings.HasPrefix(strings.ToLower(d.args[0]), "tap") {
		return fmt.Errorf(
			"it wants an Ethernet bridge (tap); only routed tunnels (tun) can be used")
	}
	return nil
}

// takeRemoteCertTLS keeps what sets the usages of the server's key, in the place of those before.
func takeRemoteCertTLS(p *parser, d directive) error {
	delete(p.profile.options, "remote-cert-ku")
	delete(p.profile.options, "remote-cert-eku")
	return required(1, words(`server|client`)).take(p, d)
}

func takeNSCertType(p *parser, d directive) error {
	p.find(d, Warning, "outdated; the provider should use remote-cert-tls")
	return required(1, words(`server|client`)).take(p, d)
}

// takeMode accepts what a client has anyway.
func takeMode(_ *parser, d directive) error {
	if len(d.args) != 1 || d.args[0] != "p2p" {
		return fmt.Errorf("a server's configuration, not a client's")
	}
	return nil
}

// takeVerifyHash keeps the fingerprints of authorities: those of a block are of SHA-256; that of a
// line is of SHA-1 where no other digest is named. The last one counts, as in OpenVPN.
func takeVerifyHash(p *parser, d directive) error {
	if d.inline {
		list, err := fingerprints(d)
		p.profile.blocks[d.name] = strings.Join(list, "\n") + "\n"
		delete(p.profile.options, d.name)
		return err
	}
	further := 19
	if len(d.args) == 2 && d.args[1] == "SHA256" {
		further = 31
	}
	form := fmt.Sprintf(`[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){%d}`, further)
	delete(p.profile.blocks, d.name)
	return required(2, words(form), words(`SHA1|SHA256`)).take(p, d)
}

// maxNotices is how often a server is told that we leave. More would hold up a change of servers.
const maxNotices = 5

func takeExitNotify(p *parser, d directive) error {
	if len(d.args) == 0 {
		p.set(d.name)
		return nil
	}
	n, err := strconv.Atoi(d.args[0])
	if err != nil || n < 1 {
		p.find(d, Info, "%q is not a number of notices; ignored", d.args[0])
		return nil
	}
	p.set(d.name, strconv.Itoa(min(n, maxNotices)))
	return nil
}

// takeIfconfig keeps the addresses of a point-to-point tunnel; a client pulls its own.
func takeIfconfig(p *parser, d directive) error {
	if len(d.args) < 2 {
		p.find(d, Info, "it needs two addresses; ignored")
		return nil
	}
	args := make([]string, 2)
	for i, a := range d.args[:2] {
		if prefix, err := netip.ParsePrefix(a); err == nil && d.name == "ifconfig-ipv6" && i == 0 {
			args[i] = prefix.String()
			continue
		}
		addr, err := netip.ParseAddr(a)
		if err != nil || addr.Zone() != "" || addr.Is4() != (d.name == "ifconfig") {
			p.find(d, Info, "%q is not an address of its kind; ignored", a)
			return nil
		}
		args[i] = addr.String()
	}
	p.set(d.name, args...)
	return nil
}

func takeTopology(p *parser, d directive) error {
	if len(d.args) == 1 && slices.Contains([]string{"net30", "p2p", "subnet"}, d.args[0]) {
		p.set(d.name, d.args[0])
	}
	return nil
}

// takeNoReplay keeps what changes the format of packets, where the person allows it.
func takeNoReplay(p *parser, d directive) error {
	p.weak = append(p.weak, "no-replay lets recorded packets be sent again")
	p.set(d.name)
	return nil
}
