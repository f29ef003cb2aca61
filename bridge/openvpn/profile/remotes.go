package profile

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// maxRemotes bounds the servers of a profile; the largest real ones list about a hundred.
const maxRemotes = 512

var hostName = regexp.MustCompile(
	`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

// takeRemote reads "remote host [port [proto]]".
func takeRemote(p *parser, d directive) error {
	if len(d.args) == 0 || len(d.args) > 3 {
		return fmt.Errorf("expected: remote host [port [protocol]]")
	}
	r := rawRemote{line: d.line}
	var err error
	if r.host, err = parseHost(d.args[0]); err != nil {
		return err
	}
	if len(d.args) > 1 {
		if r.port, err = parsePort(d.args[1]); err != nil {
			return err
		}
	}
	if len(d.args) > 2 {
		if r.proto, err = parseProto(d.args[2]); err != nil {
			return err
		}
	}
	if p.remotes = append(p.remotes, r); len(p.remotes) > maxRemotes {
		return fmt.Errorf("more than %d servers", maxRemotes)
	}
	return nil
}

// parseHost returns the canonical form of a server's name or address.
func parseHost(s string) (string, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		if a.Zone() != "" {
			return "", fmt.Errorf("%q: an address with a zone is not a server's", s)
		}
		return a.Unmap().String(), nil
	}
	if s = strings.TrimSuffix(s, "."); len(s) > 253 || !hostName.MatchString(s) {
		return "", fmt.Errorf("%q is neither a host name nor an address", s)
	}
	return strings.ToLower(s), nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port", s)
	}
	return uint16(n), nil
}

func parseProto(s string) (rawProto, error) {
	switch strings.ToLower(s) {
	case "udp":
		return rawProto{UDP, 0}, nil
	case "udp4":
		return rawProto{UDP, 4}, nil
	case "udp6":
		return rawProto{UDP, 6}, nil
	case "tcp", "tcp-client":
		return rawProto{TCP, 0}, nil
	case "tcp4", "tcp4-client":
		return rawProto{TCP, 4}, nil
	case "tcp6", "tcp6-client":
		return rawProto{TCP, 6}, nil
	}
	return rawProto{},
		fmt.Errorf("%q is not a protocol of a client (udp, tcp, udp4, tcp4, udp6, tcp6)", s)
}

func takeProto(p *parser, d directive) (err error) {
	if len(d.args) != 1 {
		return fmt.Errorf("expected: %s protocol", d.name)
	}
	p.proto, err = parseProto(d.args[0])
	return err
}

func takePort(p *parser, d directive) (err error) {
	if len(d.args) != 1 {
		return fmt.Errorf("expected: %s number", d.name)
	}
	p.port, err = parsePort(d.args[0])
	return err
}

// takeConnection reads a <connection> block: one remote with its own defaults. Of the other options
// that may stand there, explicit-exit-notify is taken for all connections.
func takeConnection(p *parser, d directive) error {
	if !d.inline {
		return fmt.Errorf("expected a block <connection> … </connection>")
	}
	inner, err := lexLines(strings.Split(d.body, "\n"), d.line+1, p.profile.Name)
	if err != nil {
		return err
	}
	outer := parser{proto: p.proto, port: p.port, remotes: p.remotes}
	p.proto, p.port = rawProto{}, 0
	for _, in := range inner {
		switch in.name {
		case "remote", "proto", "port", "rport", "explicit-exit-notify", "http-proxy",
			"socks-proxy":
			if err := p.take(in); err != nil {
				return fmt.Errorf("line %d: %s: %w", in.line, in.name, err)
			}
		default:
			p.find(in, Info, "cannot differ from one server to another; dropped")
		}
	}
	for i := len(outer.remotes); i < len(p.remotes); i++ {
		r := &p.remotes[i]
		if r.port == 0 {
			r.port = p.port
		}
		if r.proto == (rawProto{}) {
			r.proto = p.proto
		}
	}
	p.proto, p.port = outer.proto, outer.port
	return nil
}
