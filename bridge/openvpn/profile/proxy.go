package profile

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
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
		login := d.args[2]
		if !slices.Contains([]string{"auto", "auto-nct"}, login) {
			login = askLogin
			if err := p.readProxyLogin(d, d.args[2], args); err != nil {
				return err
			}
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
		if err := p.readProxyLogin(d, d.args[2], args); err != nil {
			return err
		}
		args = append(args, askLogin)
	}
	p.set(d.name, args...)
	return nil
}

// askLogin has openvpn ask for the login by management: it reads no file of its own choosing.
const askLogin = "stdin"

const proxyLoginHint = "put the proxy's user name and password, a line each, between " +
	"<http-proxy-user-pass> and </http-proxy-user-pass>"

// readProxyLogin reads the user name and password for a proxy from a file beside the profile. place
// is the proxy's host and port; nil: those that name no file.
func (p *parser) readProxyLogin(d directive, file string, place []string) error {
	switch {
	case file == askLogin:
		p.askedProxy = d.line
		return nil
	case p.options.Files == nil:
		return fmt.Errorf("the file %q is not read; %s", file, proxyLoginHint)
	}
	data, err := p.options.Files(file)
	if err != nil {
		return fmt.Errorf("reading %q: %w; or %s", file, err, proxyLoginHint)
	}
	return p.keepProxyLogin(string(data), place)
}

// keepProxyLogin keeps the two lines of a login for a proxy.
func (p *parser) keepProxyLogin(text string, place []string) error {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if len(lines) < 2 || lines[0] == "" || lines[1] == "" {
		return fmt.Errorf("it holds no user name and password: %s", proxyLoginHint)
	}
	for _, secret := range lines[:2] {
		if len(secret) > maxSecret || strings.ContainsAny(secret, "\r\x00") {
			return fmt.Errorf("the user name or password holds a control character or is longer "+
				"than %d bytes", maxSecret)
		}
	}
	if p.profile.proxyLogins == nil {
		p.profile.proxyLogins = map[Proxy]*Credentials{}
	}
	p.profile.proxyLogins[proxyOf(place)] = &Credentials{Username: lines[0], Password: lines[1]}
	return nil
}

// proxyOf returns the proxy at a canonical host and port; the zero value where there are none.
func proxyOf(place []string) Proxy {
	if len(place) < 2 {
		return Proxy{}
	}
	port, _ := strconv.ParseUint(place[1], 10, 16)
	return Proxy{Host: place[0], Port: uint16(port)}
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

// maxHeaders bounds the options of a proxy, below OpenVPN's ten headers.
const maxHeaders = 10

// headerName is a token of RFC 9110.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,60}:?$")

// takeProxyOption keeps what some proxies ask for.
func takeProxyOption(p *parser, d directive) error {
	if len(d.args) == 2 && (d.args[0] == "VERSION" || d.args[0] == "AGENT") {
		if _, err := words(`[A-Za-z0-9./ ();_-]{1,100}`)(d.args[1]); err == nil {
			p.add(d.name, d.args...)
			return nil
		}
	}
	if len(d.args) >= 2 && len(d.args) <= 3 && d.args[0] == "CUSTOM-HEADER" &&
		headerName.MatchString(d.args[1]) && len(d.args[len(d.args)-1]) <= 200 {
		if len(p.current(d.name).options[d.name]) < maxHeaders {
			p.add(d.name, d.args...)
			return nil
		}
	}
	p.find(d, Warning, "only VERSION, AGENT and up to %d of CUSTOM-HEADER are used", maxHeaders)
	return nil
}

// takeProxyUserPass reads the user name and password for a proxy from a block or a file. In a
// <connection>, they are its proxy's; else those of all that name none.
func takeProxyUserPass(p *parser, d directive) error {
	var place []string
	if all := p.current("http-proxy").options["http-proxy"]; p.block > 0 && len(all) > 0 {
		place = all[0]
	}
	switch {
	case d.inline:
		return p.keepProxyLogin(d.body, place)
	case len(d.args) == 1:
		return p.readProxyLogin(d, d.args[0], place)
	}
	return fmt.Errorf("expected a block: %s", proxyLoginHint)
}

// finishProxies notes the proxy of each server and refuses what OpenVPN refuses.
func (p *parser) finishProxies() error {
	p.finishProxyLogin()
	for i := range p.profile.Remotes {
		r := &p.profile.Remotes[i]
		own := p.profile.of(*r)
		if own.has("http-proxy") && own.has("socks-proxy") {
			return fmt.Errorf("%s has both http-proxy and socks-proxy", r.Host)
		}
		for _, name := range []string{"http-proxy", "socks-proxy"} {
			if args := own.options[name]; args != nil {
				r.Proxy = proxyOf(args[0])
			}
		}
		if own.has("http-proxy") && r.Proto != TCP {
			return fmt.Errorf("an http-proxy carries TCP only, but %s is reached by UDP: write "+
				"\"proto tcp\"", r.Host)
		}
	}
	return nil
}

// finishProxyLogin has the login of a block used by the proxies that name none, and tells of a
// login that is asked for and not there.
func (p *parser) finishProxyLogin() {
	if len(p.profile.proxyLogins) == 0 && p.askedProxy > 0 {
		p.find(directive{line: p.askedProxy, name: "http-proxy"}, Serious,
			"the proxy's login is missing: %s", proxyLoginHint)
	}
	for _, s := range append([]settings{p.profile.settings}, p.profile.connections...) {
		for name, login := range map[string]string{"http-proxy": "auto", "socks-proxy": askLogin} {
			args := s.options[name]
			if args != nil && len(args[0]) == 2 && p.profile.loginFor(proxyOf(args[0])) != nil {
				s.options[name] = [][]string{append(slices.Clone(args[0]), login)}
			}
		}
	}
}

// NamedToProxy reports whether the server's name or address is passed on to its proxy as it is, as
// OpenVPN does: the proxy resolves it. By UDP, a SOCKS proxy is told addresses alone.
func (r Remote) NamedToProxy() bool { return r.Proxy.Host != "" && r.Proto == TCP }

// asNamed returns the server's host as an HTTP request names it (RFC 9110, section 7.2).
func (r Remote) asNamed(http bool) string {
	if a, err := netip.ParseAddr(r.Host); err == nil && a.Is6() && http {
		return "[" + r.Host + "]"
	}
	return r.Host
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

// ProxyLogin returns the user name and password for a server's proxy, or nil.
func (p *Profile) ProxyLogin(r Remote) *Credentials { return p.For(r).loginFor(r.Proxy) }

// loginFor returns a proxy's own login, or that of all; nil where there is none.
func (p *Profile) loginFor(proxy Proxy) *Credentials {
	return cmp.Or(p.proxyLogins[proxy], p.proxyLogins[Proxy{}])
}
