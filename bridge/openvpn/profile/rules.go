package profile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rule says what becomes of a directive. take returns an error when the profile cannot be used.
type rule struct {
	take  func(p *parser, d directive) error
	block bool // may be an inline block
}

// rules is the allow-list. A directive that is not here is dropped with a warning. It is filled by
// init because the rule of <connection> refers to it.
var rules map[string]rule

// optionOrder is the order of options in the canonical text. Only what is here can ever be written.
var optionOrder = []string{
	"float", "explicit-exit-notify", "push-peer-info", "setenv",
	"data-ciphers", "data-ciphers-fallback", "auth", "compress", "comp-lzo",
	"tls-version-min", "tls-version-max", "tls-cipher", "tls-ciphersuites", "tls-groups",
	"tls-cert-profile",
	"remote-cert-tls", "ns-cert-type", "remote-cert-ku", "remote-cert-eku", "verify-x509-name",
	"verify-hash",
	"key-direction", "tun-mtu", "tun-mtu-extra", "link-mtu", "mssfix", "fragment",
	"reneg-sec", "reneg-bytes", "reneg-pkts", "tran-window", "replay-window", "dhcp-option",
}

// blockOrder is the order of inline blocks in the canonical text.
var blockOrder = []string{
	"ca", "cert", "key", "extra-certs", "pkcs12", "peer-fingerprint", "crl-verify", "tls-auth",
	"tls-crypt", "tls-crypt-v2",
}

func init() { //nolint:gochecknoinits // breaks the cycle rules → connection → rules
	rules = map[string]rule{
		"remote": {take: takeRemote},
		"proto":  {take: takeProto},
		"port":   {take: takePort},
		"rport":  {take: takePort},
		"remote-random": {
			take: func(p *parser, _ directive) error { p.profile.RandomOrder = true; return nil }},
		"remote-random-hostname": {
			take: func(p *parser, _ directive) error { p.profile.RandomNames = true; return nil }},
		"connection":            {take: takeConnection, block: true},
		"dev":                   {take: takeDev},
		"dev-type":              {take: takeDev},
		"auth-user-pass":        {take: takeAuthUserPass, block: true},
		"cipher":                {take: takeCipher},
		"data-ciphers-fallback": {take: takeCipher},
		"data-ciphers":          {take: takeDataCiphers},
		"ncp-ciphers":           {take: takeDataCiphers},
		"auth":                  {take: takeAuth},
		"compress":              {take: takeCompress},
		"comp-lzo":              {take: takeCompress},
		"tls-cipher":            {take: takeTLSCipher},
		"tls-version-min":       {take: takeTLSVersion},
		"tls-version-max":       {take: takeTLSVersion},
		"tls-cert-profile":      {take: takeCertProfile},
		"setenv":                {take: takeSetenv},
		"push-peer-info": {
			take: func(p *parser, d directive) error { p.pushInfo = d.line; return nil }},
		"ignore-unknown-option": {take: func(p *parser,
			d directive) error {
			p.ignored = append(p.ignored, d.args...)
			return nil
		}},
		"dhcp-option":      {take: takeDHCPOption},
		"remote-cert-tls":  {take: takeRemoteCertTLS},
		"ns-cert-type":     {take: takeRemoteCertTLS},
		"ca":               {take: takeBlock, block: true},
		"cert":             {take: takeBlock, block: true},
		"key":              {take: takeBlock, block: true},
		"extra-certs":      {take: takeBlock, block: true},
		"pkcs12":           {take: takeBlock, block: true},
		"crl-verify":       {take: takeBlock, block: true},
		"tls-auth":         {take: takeBlock, block: true},
		"tls-crypt":        {take: takeBlock, block: true},
		"tls-crypt-v2":     {take: takeBlock, block: true},
		"peer-fingerprint": {take: takeFingerprint, block: true},

		"float":                keep(0),
		"explicit-exit-notify": keep(1, number(1, 5)),
		"tls-ciphersuites":     keep(1, words(cipherWord)),
		"tls-groups":           keep(1, words(cipherWord)),
		"remote-cert-ku":       keep(8, words(`[0-9a-fA-F]{2,4}`)),
		"remote-cert-eku":      keep(1, words(`[A-Za-z0-9. ]{1,100}`)),
		"verify-x509-name":     keep(2, nil, words(`subject|name|name-prefix`)),
		"verify-hash":          keep(2, words(fingerprint), words(`SHA1|SHA256`)),
		"key-direction":        keep(1, number(0, 1)),
		"tun-mtu":              keep(1, number(576, 9000)),
		"tun-mtu-extra":        keep(1, number(0, 1500)),
		"link-mtu":             keep(1, number(576, 9100)),
		"mssfix":               keep(2, number(0, 9000), words(`mtu|fixed`)),
		"fragment":             keep(2, number(68, 9000), words(`mtu`)),
		"reneg-sec":            keep(2, number(0, 1<<30), number(0, 1<<30)),
		"reneg-bytes":          keep(1, number(0, 1<<62)),
		"reneg-pkts":           keep(1, number(0, 1<<62)),
		"tran-window":          keep(1, number(1, 1<<30)),
		"replay-window":        keep(2, number(0, 65535), number(0, 600)),
	}
	addAll(Info, "", "client", "tls-client", "pull", "nobind", "allow-compression", "comp-noadapt",
		"auth-nocache", "key-method")
	addAll(Info, "ztbridge sets this itself", "resolv-retry", "connect-retry", "connect-retry-max",
		"connect-timeout",
		"server-poll-timeout", "tls-timeout", "hand-window", "keepalive", "ping", "ping-restart",
		"ping-exit", "ping-timer-rem",
		"inactive", "persist-key", "persist-tun", "persist-local-ip", "persist-remote-ip", "verb",
		"mute", "sndbuf", "rcvbuf",
		"txqueuelen", "socket-flags", "tcp-nodelay", "fast-io", "auth-retry", "script-security",
		"bind", "lport", "local",
		"multihome", "remap-usr1", "pull-filter", "disable-dco", "topology", "suppress-timestamps",
		"machine-readable-output",
		"errors-to-stderr", "mute-replay-warnings", "up-delay", "tun-ipv6", "mtu-disc", "mtu-test",
		"preresolve", "allow-recursive-routing", "single-session", "tls-exit", "session-timeout",
		"bcast-buffers", "nice", "mlock")
	addAll(Info, "routes and resolvers are decided by this box's policy", "route", "route-ipv6",
		"route-delay", "route-gateway",
		"route-ipv6-gateway", "route-method", "route-metric", "route-noexec", "route-nopull",
		"redirect-gateway",
		"redirect-private", "max-routes", "block-ipv6", "block-outside-dns", "register-dns", "dns",
		"ip-win32",
		"allow-pull-fqdn", "ifconfig", "ifconfig-ipv6", "ifconfig-noexec", "ifconfig-nowarn",
		"client-nat", "win-sys",
		"windows-driver", "dhcp-renew", "dhcp-release", "tap-sleep", "lladdr", "iproute", "service",
		"show-net-up", "echo")
	addAll(Info, "has no effect in OpenVPN 2.6", "disable-occ", "opt-verify", "no-iv", "keysize",
		"dh", "ecdh-curve", "prng",
		"hash-size", "mtu-dynamic", "auth-token-user", "dhcp-internal", "parameter", "setenv-safe")
	addAll(Warning, "would run a program; dropped", "up", "down", "down-pre", "up-restart",
		"route-up", "route-pre-down", "ipchange",
		"tls-verify", "auth-user-pass-verify", "client-connect", "client-disconnect",
		"client-crresponse", "learn-address",
		"tls-crypt-v2-verify", "plugin", "providers", "engine", "pkcs11-providers", "pkcs11-id",
		"pkcs11-id-management",
		"pkcs11-pin-cache", "pkcs11-cert-private", "pkcs11-private-mode",
		"pkcs11-protected-authentication", "cryptoapicert")
	addAll(Warning, "would read or write a file; dropped", "config", "status", "status-version",
		"log", "log-append",
		"replay-persist", "writepid", "askpass", "capath", "cd", "chroot", "tmp-dir",
		"client-config-dir", "ifconfig-pool-persist",
		"tls-export-cert", "auth-gen-token-secret")
	addAll(Warning, "would take control of the process away from ztbridge; dropped", "management",
		"management-client",
		"management-client-auth", "management-client-group", "management-client-user",
		"management-external-cert",
		"management-external-key", "management-forget-disconnect", "management-hold",
		"management-log-cache",
		"management-query-passwords", "management-query-proxy", "management-query-remote",
		"management-signal",
		"management-up-down", "daemon", "syslog", "user", "group", "setcon", "dev-node", "mark",
		"bind-dev", "mktun", "rmtun")
	addAll(Warning, "would weaken the tunnel; dropped", "no-replay", "compat-mode",
		"force-tls-key-material-export",
		"keying-material-exporter", "shaper", "passtos", "x509-username-field", "compat-names",
		"no-name-remapping")
	addAll(Warning, "the server's name is no longer checked; use verify-x509-name", "tls-remote")
	refuseAll(
		"a static key without TLS cannot be used by OpenVPN 2.6 safely; ask the provider for a "+
			"TLS profile", "secret")
	refuseAll(
		"connections through a proxy are not supported; without it they would go out directly",
		"http-proxy",
		"socks-proxy", "http-proxy-override")
	addAll(Info, "belongs to a proxy", "http-proxy-option", "http-proxy-retry",
		"http-proxy-timeout", "http-proxy-user-pass",
		"socks-proxy-retry")
	refuseAll("this is the configuration of a server, not of a client", "server", "server-ipv6",
		"server-bridge", "tls-server",
		"mode", "ifconfig-pool", "push", "client-to-client", "port-share")
	refuseAll("a code would have to be typed at each connection; no one is there to do it",
		"static-challenge")
}

// addAll registers names that are dropped. An empty reason drops without a word: the canonical text
// says the same, or it goes without saying.
func addAll(s Severity, reason string, names ...string) {
	for _, n := range names {
		rules[n] = rule{block: true, take: func(p *parser, d directive) error {
			if reason != "" {
				p.find(d, s, "%s", reason)
			}
			return nil
		}}
	}
}

func refuseAll(reason string, names ...string) {
	for _, n := range names {
		rules[n] = rule{block: true,
			take: func(*parser, directive) error { return fmt.Errorf("%s", reason) }}
	}
}

// check returns the canonical form of a word, or an error.
type check func(word string) (string, error)

// keep makes the rule of an option that is kept when it has at most max arguments that all pass
// their checks; the last check serves all further arguments, a nil one passes everything. An option
// that does not is dropped with a warning.
func keep(max int, checks ...check) rule {
	return rule{take: func(p *parser, d directive) error {
		if len(d.args) > max {
			p.find(d, Warning, "it has more than %d arguments; dropped", max)
			return nil
		}
		args := make([]string, len(d.args))
		for i, a := range d.args {
			args[i] = a
			c := checks[min(i, len(checks)-1)]
			if c == nil {
				continue
			}
			canonical, err := c(a)
			if err != nil {
				p.find(d, Warning, "%v; dropped", err)
				return nil
			}
			args[i] = canonical
		}
		if max > 0 && len(args) == 0 &&
			!slices.Contains([]string{"explicit-exit-notify", "mssfix", "remote-cert-ku"}, d.name) {
			p.find(d, Warning, "it needs an argument; dropped")
			return nil
		}
		p.set(d.name, args...)
		return nil
	}}
}

const (
	cipherWord  = `[A-Za-z0-9_:+!.-]{1,240}`
	fingerprint = `[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){19,31}`
)

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

func takeRemoteCertTLS(p *parser, d directive) error {
	if len(d.args) != 1 || d.args[0] != "server" {
		p.find(d, Warning, `only "server" makes sense for a client; dropped`)
		return nil
	}
	if d.name == "ns-cert-type" {
		p.find(d, Warning, "outdated; the provider should use remote-cert-tls")
	}
	p.set(d.name, "server")
	return nil
}
