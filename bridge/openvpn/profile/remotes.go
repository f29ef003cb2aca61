package profile

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxRemotes bounds the servers of a profile that are used; the largest real ones list about a
// hundred.
const maxRemotes = 512

var hostName = regexp.MustCompile(
	`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

// takeRemote reads "remote host [port [proto]]".
func takeRemote(p *parser, d directive) error {
	if len(d.args) == 0 || len(d.args) > 3 {
		return fmt.Errorf("expected: remote host [port [protocol]]")
	}
	r := rawRemote{line: d.line, block: p.block}
	if _, err := netip.ParseAddr(strings.Trim(d.args[0], "[]")); err != nil &&
		placeholder.MatchString(d.args[0]) {
		return fmt.Errorf("%q is a placeholder; write your server's name or address in its place",
			d.args[0])
	}
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
	if reason := unreachable(r.host); reason != "" {
		p.find(d, Serious, "%s %s; ignored", r.host, reason)
		p.unusable = append(p.unusable, r.host+" "+reason)
		return nil
	}
	p.remotes = append(p.remotes, r)
	return nil
}

// unreachable returns why no server can have the address; empty where one can.
func unreachable(host string) string {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		host = "127.0.0.1"
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return ""
	case a.IsLoopback():
		return "is this box itself: the profile needs a helper program (stunnel, Shadowsocks) " +
			"that ztbridge does not run"
	case a.IsLinkLocalUnicast():
		return "is a link-local address, which is no server's"
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is not the address of a server"
	}
	return ""
}

var serverPort = regexp.MustCompile(`^\d{1,5}$`)

// parseHost returns the canonical form of a server's name or address.
func parseHost(s string) (string, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		if a.Zone() != "" {
			return "", fmt.Errorf("%q: an address with a zone is not a server's", s)
		}
		return a.Unmap().String(), nil
	}
	if _, port, err := net.SplitHostPort(s); err == nil && serverPort.MatchString(port) {
		return "", fmt.Errorf("%q: write the port as a word of its own, behind a space", s)
	}
	if s = strings.TrimSuffix(s, "."); len(s) > 253 || !hostName.MatchString(s) {
		return "", fmt.Errorf("%q is neither a host name nor an address", s)
	}
	return strings.ToLower(s), nil
}

// parsePort reads a port by its number or its name in /etc/services.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && n > 0 {
		return uint16(n), nil
	}
	if !serviceName.MatchString(s) {
		return 0, fmt.Errorf("%q is not a port", s)
	}
	for _, network := range []string{"tcp", "udp"} {
		if port, err := net.LookupPort(network, s); err == nil && port > 0 {
			return uint16(port), nil
		}
	}
	return 0, fmt.Errorf("%q is neither a port number nor a known service", s)
}

var serviceName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,30}$`)

// protos are the transports by the words of OpenVPN, of which a client writes some in two ways.
var protos = map[string]rawProto{
	"udp": {UDP, 0}, "udp4": {UDP, 4}, "udp6": {UDP, 6},
	"tcp": {TCP, 0}, "tcp4": {TCP, 4}, "tcp6": {TCP, 6},
	"tcp-client": {TCP, 0}, "tcp4-client": {TCP, 4}, "tcp6-client": {TCP, 6},
}

func parseProto(s string) (rawProto, error) {
	if proto, known := protos[strings.ToLower(s)]; known {
		return proto, nil
	}
	return rawProto{},
		fmt.Errorf("%q is not a protocol of a client (udp, tcp, udp4, tcp4, udp6, tcp6)", s)
}

// word reads a directive with one argument, which is called so, into a place in the parser.
func word[T any](called string, read func(string) (T, error), into func(*parser) *T,
) func(*parser, directive) error {
	return func(p *parser, d directive) (err error) {
		if len(d.args) != 1 {
			return fmt.Errorf("expected: %s %s", d.name, called)
		}
		*into(p), err = read(d.args[0])
		return err
	}
}

// takeConnection reads a <connection> block: one server with settings of its own.
func takeConnection(p *parser, d directive) error {
	if !d.inline || p.block > 0 {
		return fmt.Errorf("expected a block <connection> … </connection>")
	}
	inner, err := lexLines(strings.Split(d.body, "\n"), d.line+1, p.profile.Name)
	if err != nil {
		return err
	}
	// What stands before the block counts in it, and what stands in it not behind it.
	proto, port, first := p.proto, p.port, len(p.remotes)
	p.profile.connections = append(p.profile.connections, p.profile.inherited())
	p.block = len(p.profile.connections)
	for _, in := range inner {
		if err := p.takeOfConnection(in, first); err != nil {
			return fmt.Errorf("line %d: %s: %w", in.line, in.name, err)
		}
	}
	for i := range p.remotes[first:] {
		p.remotes[first+i].port, p.remotes[first+i].proto = p.port, p.proto
	}
	p.block, p.proto, p.port = 0, proto, port
	return nil
}

// takeOfConnection takes a directive of a <connection> block, whose servers begin at first. As in
// OpenVPN, a later remote replaces an earlier one, and its words are as good as proto and port.
func (p *parser) takeOfConnection(d directive, first int) error {
	// OpenVPN takes these for all servers, and the app for Android writes a proxy's login so.
	forAll := []string{"nobind", "bind", "lport", "compat-mode", "http-proxy-user-pass"}
	if r, known := p.rules[d.name]; known && r.class == kept && !slices.Contains(forAll, d.name) {
		return fmt.Errorf("it cannot differ from one server to another: move it out of the " +
			"<connection> block")
	}
	before := len(p.remotes)
	if err := p.take(d); err != nil || len(p.remotes) == before {
		return err
	}
	r := p.remotes[before]
	p.remotes = append(p.remotes[:first], r)
	if before > first {
		p.find(d, Warning, "replaces the block's remote before it; write a block for each server")
	}
	p.port = cmp.Or(r.port, p.port)
	if r.proto != (rawProto{}) {
		p.proto = r.proto
	}
	return nil
}

// finishRemotes gives each server what the profile says for all.
func (p *parser) finishRemotes() error {
	seen := map[Remote]bool{}
	blocks := slices.ContainsFunc(p.remotes, func(r rawRemote) bool { return r.block > 0 })
	for _, raw := range p.remotes {
		if blocks && raw.block == 0 {
			p.find(directive{line: raw.line, name: "remote"}, Warning,
				"ignored, as by OpenVPN, because there are <connection> blocks")
			continue
		}
		r := Remote{Host: raw.host, Port: raw.port, Proto: raw.proto.proto,
			Family: raw.proto.family, Connection: raw.block}
		r.Port = cmp.Or(r.Port, p.port)
		if r.Proto == "" {
			r.Proto, r.Family = p.proto.proto, p.proto.family
		}
		if p.forced.proto != "" && r.Proto != p.forced.proto {
			continue
		}
		if !seen[r] {
			seen[r] = true
			p.profile.Remotes = append(p.profile.Remotes, r)
		}
	}
	if n := len(p.profile.Remotes); n > maxRemotes {
		p.find(directive{name: "remote"}, Warning, "of %d servers the first %d are used", n,
			maxRemotes)
		p.profile.Remotes = p.profile.Remotes[:maxRemotes]
	}
	switch {
	case len(p.profile.Remotes) > 0:
		return p.finishProxies()
	case len(p.unusable) > 0:
		return fmt.Errorf("none of its servers can be used: %s", p.unusable[0])
	case len(p.remotes) > 0:
		return fmt.Errorf("proto-force leaves no server")
	}
	if !p.known {
		return fmt.Errorf("it is no OpenVPN profile: nothing in it is a directive of OpenVPN")
	}
	return fmt.Errorf(`it names no server (no "remote" line)`)
}
