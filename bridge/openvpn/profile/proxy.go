package profile

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Proxy is what a server is reached through.
type Proxy struct {
	Host string // a name or an address; empty: no proxy
	Port uint16
}

// takeHTTPProxy reads "http-proxy host port [file|auto|auto-nct] [method]".
func takeHTTPProxy(p *parser, d directive) error {
	if len(d.args) < 2 || len(d.args) > 4 {
		return fmt.Errorf("expected: http-proxy host port [auto] [method]")
	}
	args, err := proxyPlace(d.args)
	if err != nil {
		return err
	}
	if len(d.args) > 2 {
		login := "stdin" // asked for by management, never read from a file of openvpn's choosing
		if slices.Contains([]string{"auto", "auto-nct"}, d.args[2]) {
			login = d.args[2]
		}
		args = append(args, login)
	}
	if len(d.args) > 3 {
		if !slices.Contains([]string{"none", "basic", "ntlm", "ntlm2"}, d.args[3]) {
			return fmt.Errorf("%q is not a method (none, basic, ntlm2)", d.args[3])
		}
		args = append(args, d.args[3])
	}
	p.set(d.name, args...)
	return nil
}

// takeSOCKSProxy reads "socks-proxy host [port] [file]".
func takeSOCKSProxy(p *parser, d directive) error {
	if len(d.args) == 0 || len(d.args) > 3 {
		return fmt.Errorf("expected: socks-proxy host [port]")
	}
	place := d.args
	if len(place) == 1 {
		place = []string{place[0], "1080"}
	}
	args, err := proxyPlace(place)
	if err != nil {
		return err
	}
	if len(d.args) > 2 {
		args = append(args, "stdin")
	}
	p.set(d.name, args...)
	return nil
}

func proxyPlace(args []string) ([]string, error) {
	host, err := parseHost(args[0])
	if err != nil {
		return nil, err
	}
	if reason := unreachable(host); reason != "" {
		return nil, fmt.Errorf("the proxy %s %s", host, reason)
	}
	port, err := parsePort(args[1])
	if err != nil {
		return nil, err
	}
	return []string{host, strconv.Itoa(int(port))}, nil
}

// takeProxyOption keeps what some proxies ask for.
func takeProxyOption(p *parser, d directive) error {
	if len(d.args) == 2 && (d.args[0] == "VERSION" || d.args[0] == "AGENT") {
		if _, err := words(`[A-Za-z0-9./ ();_-]{1,100}`)(d.args[1]); err == nil {
			p.add(d.name, d.args...)
			return nil
		}
	}
	p.find(d, Info, "only VERSION and AGENT are used")
	return nil
}

// takeProxyUserPass reads the user name and password for a proxy from a block.
func takeProxyUserPass(p *parser, d directive) error {
	lines := strings.Split(d.body, "\n")
	if !d.inline || len(lines) < 2 || lines[0] == "" {
		p.find(d, Warning, "only a block with user name and password is read; ignored")
		return nil
	}
	p.profile.proxyLogin = &Credentials{Username: lines[0], Password: lines[1]}
	return nil
}

// finishProxies notes the proxy of each server and refuses what OpenVPN refuses.
func (p *parser) finishProxies() error {
	for i := range p.profile.Remotes {
		r := &p.profile.Remotes[i]
		own := p.profile.of(*r)
		if own.has("http-proxy") && own.has("socks-proxy") {
			return fmt.Errorf("%s has both http-proxy and socks-proxy", r.Host)
		}
		for _, name := range []string{"http-proxy", "socks-proxy"} {
			if args := own.options[name]; args != nil {
				port, _ := strconv.ParseUint(args[0][1], 10, 16)
				r.Proxy = Proxy{Host: args[0][0], Port: uint16(port)}
			}
		}
		if own.has("http-proxy") && r.Proto != TCP {
			return fmt.Errorf("an http-proxy carries TCP only, but %s is reached by UDP: write "+
				"\"proto tcp\"", r.Host)
		}
	}
	return nil
}

// proxyAt returns the settings with the proxy's name replaced by its address.
func (s settings) proxyAt(addr netip.Addr) settings {
	if !addr.IsValid() {
		return s
	}
	for _, name := range []string{"http-proxy", "socks-proxy"} {
		if args := s.options[name]; args != nil {
			s.options[name] = [][]string{append([]string{addr.String()}, args[0][1:]...)}
		}
	}
	return s
}

// ProxyLogin returns the user name and password for the servers' proxy, or nil.
func (p *Profile) ProxyLogin() *Credentials { return p.proxyLogin }
