package profile

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// class says what becomes of a directive.
type class string

// The classes of directives.
const (
	kept      class = "kept"       // given to openvpn, checked and written again
	perserver class = "per server" // kept, for one server alone in a <connection> block
	ours      class = "ours"       // set by ztbridge
	harmless  class = "harmless"   // dropped; the tunnel works without it
	unsafe    class = "unsafe"     // dropped: would run programs, touch files or weaken the tunnel
	refused   class = "refused"    // the tunnel cannot work as the profile means it
)

// rule says what becomes of a directive. take returns an error when the profile cannot be used.
type rule struct {
	class class
	take  func(p *parser, d directive) error
	block bool // may be an inline block
}

// directives returns the rule of each directive that OpenVPN 2.6 and 2.7 know, and of those that
// older versions or other clients do. A directive that is not here is unknown.
func directives() map[string]rule {
	out := map[string]rule{}
	maps.Copy(out, keptDirectives())
	for _, g := range droppedDirectives {
		for _, name := range g.names {
			out[name] = g.rule()
		}
	}
	return out
}

// table returns directives, which it makes once.
var table = sync.OnceValue(directives)

// keptDirectives are those that are read one by one.
func keptDirectives() map[string]rule {
	one := func(take func(*parser, directive) error) rule { return rule{kept, take, false} }
	block := func(take func(*parser, directive) error) rule { return rule{kept, take, true} }
	flag := func(set func(*parser)) rule {
		return one(func(p *parser, _ directive) error { set(p); return nil })
	}
	own := func(r rule) rule { r.class = perserver; return r }
	port := word("number", parsePort, func(p *parser) *uint16 { return &p.port })
	proto := word("protocol", parseProto, func(p *parser) *rawProto { return &p.proto })
	// Only servers of one transport are kept.
	forced := word("protocol", parseProto, func(p *parser) *rawProto { return &p.forced })
	elsewhere := rule{unsafe, takeElsewhere, false}
	return map[string]rule{
		"client":                 flag(func(p *parser) { p.pull = true }),
		"pull":                   flag(func(p *parser) { p.pull = true }),
		"tls-client":             flag(func(p *parser) { p.tlsClient = true }),
		"mode":                   one(takeMode),
		"remote":                 own(one(takeRemote)),
		"proto":                  own(one(proto)),
		"proto-force":            one(forced),
		"port":                   own(one(port)),
		"lport":                  one(takeLocalPort),
		"bind":                   flag(func(p *parser) { p.bind = true }),
		"nobind":                 flag(func(p *parser) { p.noBind = true }),
		"rport":                  own(one(port)),
		"remote-random":          flag(func(p *parser) { p.profile.RandomOrder = true }),
		"remote-random-hostname": flag(func(p *parser) { p.profile.RandomNames = true }),
		"connection":             block(takeConnection),
		"config":                 one(takeConfig),
		"http-proxy":             own(one(takeHTTPProxy)),
		"http-proxy-option":      own(one(takeProxyOption)),
		"http-proxy-user-pass":   block(takeProxyUserPass),
		"socks-proxy":            own(one(takeSOCKSProxy)),
		"dev":                    one(takeDev),
		"dev-type":               one(takeDev),
		"ifconfig":               one(takeIfconfig),
		"ifconfig-ipv6":          one(takeIfconfig),
		"topology":               one(takeTopology),
		"auth-user-pass":         block(takeAuthUserPass),
		"cipher":                 one(takeCipher),
		"keysize":                one(takeKeySize),
		"key-method":             one(takeKeyMethod),
		"compat-mode":            one(takeCompatMode),
		"data-ciphers-fallback":  one(takeCipher),
		"data-ciphers":           one(takeDataCiphers),
		"ncp-ciphers":            one(takeDataCiphers),
		"auth":                   one(takeAuth),
		"no-replay":              one(takeNoReplay),
		"compress":               one(takeCompress),
		"comp-lzo":               one(takeCompress),
		"tls-cipher":             one(takeTLSCipher),
		"tls-version-min":        one(takeTLSVersion),
		"tls-version-max":        one(takeTLSVersion),
		"tls-cert-profile":       one(takeCertProfile),
		"setenv":                 one(takeSetenv),
		"push-peer-info":         one(takePushPeerInfo),
		"ignore-unknown-option": one(func(p *parser, d directive) error {
			p.ignored = append(p.ignored, d.args...)
			return nil
		}),
		"dhcp-option":              one(takeDHCPOption),
		"dns":                      one(takeDNS),
		"pull-filter":              one(takePullFilter),
		"x509-username-field":      required(15, words(`(ext:)?[A-Za-z][A-Za-z0-9]{0,63}`)),
		"remote-cert-tls":          one(takeRemoteCertTLS),
		"ns-cert-type":             one(takeNSCertType),
		"ca":                       block(takeBlock),
		"cert":                     block(takeBlock),
		"key":                      block(takeBlock),
		"extra-certs":              block(takeBlock),
		"pkcs12":                   block(takeBlock),
		"crl-verify":               block(takeBlock),
		"tls-auth":                 own(block(takeBlock)),
		"tls-crypt":                own(block(takeBlock)),
		"tls-crypt-v2":             own(block(takeBlock)),
		"peer-fingerprint":         block(takeFingerprint),
		"float":                    own(keep(0)),
		"explicit-exit-notify":     own(one(takeExitNotify)),
		"tls-ciphersuites":         one(takeTLSCipherSuites),
		"tls-groups":               one(takeTLSGroups),
		"cryptoapicert":            elsewhere,
		"pkcs11-id":                elsewhere,
		"pkcs11-id-management":     elsewhere,
		"management-external":      elsewhere,
		"management-external-cert": elsewhere,
		"management-external-key":  elsewhere,
		"remote-cert-ku":           required(15, words(`(0[xX])?[0-9a-fA-F]{1,8}`)),
		"remote-cert-eku":          required(1, words(`[A-Za-z0-9 .,()/_-]{1,100}`)),
		"verify-x509-name":         required(2, nil, words(`subject|name|name-prefix`)),
		"verify-hash":              block(takeVerifyHash),
		"key-direction":            own(required(1, number(0, 1))),
		"tun-mtu":                  own(required(2, number(100, 65535), number(100, 65535))),
		"tun-mtu-max":              own(keep(1, number(1600, 65536))),
		"tun-mtu-extra":            own(required(1, number(0, 65535))),
		"link-mtu":                 own(required(1, number(100, 65535))),
		"udp-mtu":                  own(one(takeUDPMTU)),
		"max-packet-size":          own(keep(1, number(154, 65535))),
		"mssfix":                   own(keep(2, number(0, 65535), words(`mtu|fixed`))),
		"fragment":                 own(required(2, number(68, 65535), words(`mtu`))),
		"reneg-sec":                one(takeRenegSec),
		"reneg-bytes":              keep(1, number(0, 1<<62)),
		"reneg-pkts":               keep(1, number(0, 1<<62)),
		"tran-window":              keep(1, number(0, 1<<30)),
		"replay-window":            keep(2, number(0, 65535), number(0, 600)),
	}
}

// group is directives that are dropped or refused for one reason.
type group struct {
	class    class
	severity Severity // of the finding; empty: it goes without saying
	reason   string
	names    []string
}

func (g group) rule() rule {
	return rule{class: g.class, block: true, take: func(p *parser, d directive) error {
		switch {
		case g.class == refused:
			return fmt.Errorf("%s", g.reason)
		case g.severity != "":
			p.find(d, g.severity, "%s", g.reason)
		}
		return nil
	}}
}

// droppedDirectives are all others, by what becomes of them.
var droppedDirectives = []group{
	{ours, "", "", []string{"allow-compression", "comp-noadapt", "auth-nocache"}},
	{ours, Info, "ztbridge sets this itself", []string{
		"allow-recursive-routing", "auth-retry", "bcast-buffers", "connect-retry",
		"connect-retry-max", "connect-timeout", "disable-dco", "errors-to-stderr", "fast-io",
		"hand-window", "inactive", "keepalive", "local", "machine-readable-output",
		"mlock", "mtu-disc", "mtu-test", "multihome", "mute", "mute-replay-warnings", "nice",
		"persist-key", "persist-local-ip", "persist-remote-ip", "persist-tun", "ping",
		"ping-exit", "ping-restart", "ping-timer-rem", "preresolve", "rcvbuf",
		"remap-usr1", "resolv-retry", "script-security", "server-poll-timeout",
		"session-timeout", "single-session", "sndbuf", "socket-flags", "suppress-timestamps",
		"tcp-nodelay", "tls-exit", "tls-timeout", "tun-ipv6", "txqueuelen", "up-delay", "verb",
	}},
	{ours, Info, "routes and resolvers are decided by this box's policy", []string{
		"allow-pull-fqdn", "block-ipv6", "block-outside-dns", "client-nat", "dhcp-renew",
		"dhcp-release", "dhcp-pre-release", "echo", "ifconfig-noexec", "ifconfig-nowarn",
		"ip-win32", "iproute", "lladdr", "max-routes", "redirect-gateway", "redirect-private",
		"register-dns", "route", "route-delay", "route-gateway", "route-ipv6",
		"route-ipv6-gateway", "route-method", "route-metric", "route-noexec", "route-nopull",
		"route-table", "service", "show-net-up", "tap-sleep", "win-sys", "windows-driver",
	}},
	{harmless, Info, "has no effect on a client of OpenVPN 2.6", []string{
		"allow-nonadmin", "auth-token", "auth-token-user", "dh", "dhcp-internal", "disable",
		"disable-occ", "ecdh-curve", "gremlin", "hash-size", "http-proxy-retry",
		"http-proxy-timeout", "ip-remote-hint", "key-derivation", "memstats", "msg-channel",
		"no-name-remapping", "opt-verify", "parameter", "pause-exit", "peer-id", "prng",
		"protocol-flags", "push-continuation", "rdns-internal", "setenv-safe", "socks-proxy-retry",
		"tcp-queue-limit", "use-prediction-resistance", "x509-track",
	}},
	{harmless, Info, "obsolete: OpenVPN no longer has it", []string{
		"client-cert-not-required", "compat-names", "link-mtu-dynamic", "max-routes-per-client",
		"ncp-disable", "tls-cert-not-required",
	}},
	{harmless, Info, "of other OpenVPN clients; has no effect here", []string{
		"allow-name-constraints", "allow-password-save", "block-tunnel-dns", "certificate-ext",
		"client-ip", "dns-search", "dns-updown", "friendly-name", "persist-credentials",
		"profile-name", "proxy-fallback", "route-nopull-ipv6", "serverlist", "sign-extra",
		"vpn-friendly-name",
	}},
	{unsafe, Warning, `ignored: a profile may not start programs`, []string{
		"auth-user-pass-verify", "client-connect", "client-crresponse", "client-disconnect",
		"down", "down-pre", "ipchange", "learn-address", "route-pre-down", "route-up",
		"tls-verify", "tls-crypt-v2-verify", "up", "up-restart",
	}},
	{unsafe, Warning, `ignored: a profile may not load programs into openvpn`, []string{
		"engine", "pkcs11-cert-private", "pkcs11-pin-cache", "pkcs11-private-mode",
		"pkcs11-protected-authentication",
		"pkcs11-providers", "plugin", "providers",
	}},
	{unsafe, Info, "ignored: a profile may not read or write files", []string{
		"askpass", "auth-gen-token-secret", "capath", "cd", "chroot", "client-config-dir",
		"ifconfig-pool-persist", "log", "log-append", "replay-persist", "status",
		"status-version", "tls-export-cert", "tmp-dir", "writepid",
	}},
	{unsafe, Info, "ignored: ztbridge controls the process", []string{
		"bind-dev", "daemon", "dev-node", "group", "management", "management-client",
		"management-client-auth", "management-client-group", "management-client-user",
		"management-forget-disconnect",
		"management-hold", "management-log-cache", "management-query-passwords",
		"management-query-proxy", "management-query-remote", "management-signal",
		"management-up-down", "mark", "mktun", "rmtun", "setcon", "syslog", "user",
	}},
	{unsafe, Warning, "ignored: it would weaken the tunnel", []string{
		"force-tls-key-material-export", "keying-material-exporter", "passtos", "shaper",
	}},
	{unsafe, Warning, "obsolete: the server's name is no longer checked; use verify-x509-name",
		[]string{"tls-remote"}},
	{refused, "", "OpenVPN's static key mode (no TLS) is unsafe and not supported; ask the " +
		"provider for a TLS profile",
		[]string{"secret", "allow-deprecated-insecure-static-crypto"}},
	{refused, "", "it changes the format of packets in a way that OpenVPN no longer has, and " +
		"both ends must have it alike; ask the provider for a profile for OpenVPN 2.6",
		[]string{"no-iv", "mtu-dynamic"}},
	{refused, "", "a server's configuration, not a client's", []string{
		"auth-gen-token", "auth-user-pass-optional", "ccd-exclusive", "client-to-client",
		"connect-freq", "connect-freq-initial", "duplicate-cn", "ifconfig-ipv6-pool",
		"ifconfig-ipv6-push", "ifconfig-pool", "ifconfig-pool-linear", "ifconfig-push",
		"ifconfig-push-constraint", "iroute", "iroute-ipv6", "max-clients", "override-username",
		"port-share", "push", "push-remove", "push-reset", "server", "server-bridge", "server-ipv6",
		"stale-routes-check", "tls-crypt-v2-max-age", "tls-server", "username-as-common-name",
		"verify-client-cert", "vlan-accept", "vlan-pvid", "vlan-tagging",
	}},
	{refused, "", "a code would have to be typed at each connection, and no one is there to do it",
		[]string{"static-challenge"}},
	{refused, "", "needs a patched OpenVPN (XOR obfuscation), which ztbridge does not have; ask " +
		"the provider for a plain profile", []string{"scramble", "xormethod", "xormask"}},
	{refused, "", "needs Amazon's own VPN client (a browser signs in); ask for a profile with " +
		"certificates", []string{"auth-federate"}},
	{refused, "", "no profile of a client: openvpn would print something and end", []string{
		"genkey", "help", "show-adapters", "show-ciphers", "show-curves", "show-digests",
		"show-engines", "show-gateway", "show-groups", "show-net", "show-pkcs11-ids",
		"show-tls", "show-valid-subnets", "test-crypto", "version",
	}},
	{refused, "", "replaced by http-proxy; write http-proxy HOST PORT", []string{
		"http-proxy-override"}},
}

// foreign are those refused that OpenVPN itself does not know: it passes over them where a profile
// says so.
var foreign = []string{"scramble", "xormethod", "xormask", "auth-federate", "http-proxy-override",
	"mtu-dynamic"}

// unknown reports a directive that is in no table. nearest is a known one of a similar name.
func (p *parser) unknown(d directive) {
	switch nearest := p.nearest(d.name); {
	case slices.Contains(p.ignored, d.name):
		p.find(d, Info, "ignored, as the profile itself says")
	case nearest != "":
		p.find(d, Serious, "unknown; did you mean %q?", nearest)
	default:
		p.find(d, Warning, "unknown; ignored")
	}
}
