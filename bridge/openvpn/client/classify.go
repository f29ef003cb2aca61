package client

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// failure is why an attempt failed, in words, and the state that it leads to.
type failure struct {
	state  State
	cause  string
	remedy string
}

// Remedies, for people.
const (
	remedyPassphrase = "correct the passphrase in the credentials file: it is the third line, " +
		"or alone"
	remedyCredentials = "check user name and password in the credentials file, and the account " +
		"with the provider; then run: systemctl reload ztbridge"
	remedySecondFactor = "no one is there to type a code at each connection: ask the provider " +
		"for an account, or a profile, without a second factor"
	remedyOwnCert = "get a new profile from the provider"
	remedyClock   = "if that date is wrong, set the clock: timedatectl set-ntp true; else get a " +
		"new profile from the provider"
	remedyCA = "get a new profile from the provider; if it is new, somebody may be " +
		"posing as the server"
	remedyControlKey = "the tls-auth or tls-crypt key, or its direction, is not the server's: " +
		"get a new profile from the provider"
	remedyCipher  = "ask the provider for a profile for OpenVPN 2.6"
	remedyProfile = "run: ztbridge config check"
	remedyNetwork = "check this box's connection and firewall; another server or TCP may " +
		"help; an outdated profile (another tls-auth or tls-crypt key) looks the same"
	remedyProxyLogin = "write the proxy's user name and password into the profile, a line each, " +
		"between <http-proxy-user-pass> and </http-proxy-user-pass>"
	remedyProxyRefuses = "ask who runs the proxy: it must let this box connect to the server's " +
		"name and port"
	remedyProxy   = "check the proxy's name and port in the profile, and whether it runs"
	remedySilence = "the server may refuse our certificate or TLS version (get a new " +
		"profile), or large packets are lost on the way (try TCP)"
	remedyApproval = "approve the connection as the provider asks for it: in its app, or by the " +
		"link that it sent"
	remedySettings = "the provider may wait for an approval (its app, an e-mail), or be " +
		"overloaded; another server may help"
	remedyLegacy = "install OpenSSL's legacy provider (Debian: openssl-provider-legacy), " +
		"or ask for a profile with AES"
)

// sign recognises one kind of failure in a line of openvpn's log. $1 of the pattern goes into the
// cause.
type sign struct {
	pattern *regexp.Regexp
	failure failure
}

func newSign(pattern string, s State, cause, remedy string) sign {
	return sign{regexp.MustCompile(pattern), failure{state: s, cause: cause, remedy: remedy}}
}

// causeNoRoute is the cause where a packet to the server could not leave. Where this box has a
// route, a router on the way said so: causeTurnedBack.
const (
	causeNoRoute    = "this box has no route to the server"
	causeTurnedBack = "a router on the way says that it cannot reach the server"
)

// causeNoCipher is the cause of a failed negotiation of ciphers.
const causeNoCipher = "we and the server have no data cipher in common"

// refusedByProxy is a proxy that refuses its user name or password: many lock an account after
// some wrong ones.
var refusedByProxy = failure{state: StateAuthFailed,
	cause: "the proxy refused the user name or password for it", remedy: remedyProxyLogin}

// proxyWantsLogin is a proxy to which none was given.
var proxyWantsLogin = failure{state: StateConfigError,
	cause: "the proxy wants a user name and a password", remedy: remedyProxyLogin}

// proxySigns are those of an attempt by a proxy, which speaks before the server does.
var proxySigns = []sign{
	newSign(`^(?:Proxy requires authentication|socks_username_password_auth: server refused)`,
		refusedByProxy.state, refusedByProxy.cause, refusedByProxy.remedy),
	newSign(`^(?:HTTP proxy: no support for proxy authentication|HTTP proxy: do not recognize|`+
		`HTTP proxy: support for basic auth|socks_handshake: Socks proxy returned unexpected auth)`,
		StateBackoff, "the proxy wants a login of a kind that the profile does not give",
		remedyProxyLogin),
	newSign(`^HTTP proxy returned: '(HTTP/1\.[01] (?:[35]\d\d|40[0-689]|4[1-9]\d)[^']{0,60})`,
		StateBackoff,
		"the proxy refused to connect to the server: %s", remedyProxyRefuses),
	newSign(`^recv_socks_reply: Socks proxy returned bad reply`, StateBackoff,
		"the proxy refused to connect to the server", remedyProxyRefuses),
	newSign(`^(?:HTTP proxy returned bad status|socks_handshake: |recv_socks_reply: |`+
		`ERROR: recv_socks_reply|recv_line: )`, StateBackoff,
		"what answers in the place of the proxy is none", remedyProxy),
	newSign(`(?:Connection refused|ECONNREFUSED)`, StateBackoff,
		"nothing listens at the proxy's port", remedyProxy),
	newSign(`(?:Network is unreachable|Network unreachable|No route to host)`, StateBackoff,
		"this box has no route to the proxy", remedyProxy),
	newSign(`^TCP: connect to .* failed`, StateBackoff, "the proxy does not answer", remedyProxy),
}

// signs are tried in order. The texts are those of OpenVPN 2.6 with OpenSSL 3.
var signs = []sign{
	newSign(`^VERIFY ERROR: depth=0, error=certificate has expired: (.*), serial=`,
		StateCertExpired,
		"the server's certificate (%s) has expired", remedyClock),
	newSign(`^VERIFY ERROR: depth=\d+, error=certificate has expired: (.*), serial=`,
		StateCertExpired,
		"the provider's certificate authority (%s) has expired", remedyClock),
	newSign(`^VERIFY ERROR: depth=\d+, error=certificate is not yet valid: (.*), serial=`,
		StateCertExpired,
		"a certificate of the server (%s) is not valid yet", remedyClock),
	newSign(`^VERIFY ERROR: depth=\d+, error=CRL has expired`, StateCertExpired,
		"the profile's revocation list has expired", remedyOwnCert),
	newSign(
		`^VERIFY ERROR: depth=\d+, error=(self-signed certificate.*|self signed certificate.*|unable to get local issuer certificate|unable to get issuer certificate|certificate signature failure): `,
		StateTLSFailed, "the server's certificate was not issued by the profile's CA (%s)",
		remedyCA),
	newSign(`^VERIFY X509NAME ERROR: (.*), must be `, StateTLSFailed,
		"the server's certificate bears another name (%s)", remedyCA),
	newSign(
		`^VERIFY (?:E?KU ERROR|ERROR: depth=0, error=(?:unsuitable|unsupported) certificate purpose)`, StateTLSFailed, "the server's certificate is not one of a server", remedyCA),
	newSign(
		`^(?:VERIFY nsCertType ERROR|Certificate does not have (?:extended )?key usage extension)`,
		StateTLSFailed,
		"the server's certificate is not one of a server", remedyCA),
	newSign(`^(?:TLS Error: --tls-verify/--peer-fingerprint|VERIFY ERROR: .*fingerprint)`,
		StateTLSFailed,
		"the server's certificate is not the one that the profile names", remedyCA),
	newSign(`^VERIFY ERROR: depth=\d+, error=([^:]*): `, StateTLSFailed,
		"the server's certificate was refused: %s", remedyCA),
	newSign(`(?:(?:Received fatal SSL alert:|alert) certificate expired|SSL alert number 45)`,
		StateCertExpired, "the server says that our certificate has expired", remedyOwnCert),
	newSign(`(?:(?:Received fatal SSL alert:|alert) certificate revoked|SSL alert number 44)`,
		StateTLSFailed, "the server says that our certificate was revoked", remedyOwnCert),
	newSign(`(?i:(?:Received fatal SSL alert:|alert) unknown ca|SSL alert number 48)`,
		StateTLSFailed, "the server does not know the CA of our certificate", remedyOwnCert),
	newSign(
		`(?:(?:Received fatal SSL alert:|alert) (?:bad certificate|certificate unknown|certificate required|unsupported certificate)|SSL alert number (?:42|43|46|116))`,
		StateTLSFailed, "the server refuses our certificate", remedyOwnCert),
	newSign(`(?:failed to negotiate cipher with server|Data channel cipher negotiation failed)`,
		StateTLSFailed, causeNoCipher, remedyCipher),
	newSign(
		`(?:(?:Received fatal SSL alert:|alert) (?:protocol version|handshake failure)|SSL alert number 70|unsupported protocol|SSL alert number 40|no shared cipher|wrong signature type|dh key too small|ee key too small|ca md too weak)`,
		StateTLSFailed, "we and the server have no TLS version or cipher in common", remedyCipher),
	newSign(
		`(?:cannot locate HMAC in incoming packet|packet HMAC authentication failed|tls-crypt unwrap(?:ping)? error|tls-crypt unwrapping failed|incoming packet authentication failed)`,
		StateTLSFailed, "the server's packets do not match the profile's control channel key",
		remedyControlKey),
	newSign(
		`(?:Compression is not allowed|compression framing|Bad compression stub|LZO decompression error|unsupported compression)`, StateTLSFailed,
		"we and the server do not agree on compression",
		"remove or add comp-lzo or compress in the profile as the provider says"),
	newSign(`(?:failed to load provider|unable to load provider|Unable to load.*legacy provider)`,
		StateConfigError,
		"the profile needs an outdated cipher that OpenSSL no longer loads", remedyLegacy),
	newSign(`^Options error: (.*)$`, StateConfigError, "openvpn refuses its configuration: %s",
		remedyProfile),
	// One wrong passphrase in 256 makes an old encryption look right until the key is read.
	newSign(`^Cannot load private key file`, StateConfigError,
		"openvpn cannot read the private key: its passphrase is wrong, or it is damaged",
		remedyPassphrase),
	newSign(
		`^(Cannot load .*|Cannot pre-load .*|Private key does not match the certificate|Error: private key password verification failed|Error reading .* file .*)$`,
		StateConfigError, "openvpn cannot use the profile's keys: %s", remedyProfile),
	newSign(`(Cannot open TUN/TAP dev.*|Cannot ioctl TUNSETIFF.*|Cannot allocate TUN/TAP dev.*)$`,
		StateConfigError,
		"openvpn cannot open its TUN device: %s", "run: ztbridge doctor"),
	newSign(`MANAGEMENT: connect to unix socket .* failed: (.*)$`, StateConfigError,
		"openvpn cannot reach our socket: %s",
		"every directory above the runtime directory must be searchable (mode 0711)"),
	newSign(`(?:failed|code=\d+)?.*(?:Network is unreachable|Network unreachable|No route to host)`,
		StateBackoff, causeNoRoute, remedyNetwork),
	newSign(`(?:Connection refused|ECONNREFUSED)`, StateBackoff,
		"nothing listens at the server's port", remedyNetwork),
}

// classifyBy recognises a failure in a line of openvpn's log, of an attempt that goes by a proxy or
// not.
func classifyBy(proxied bool, line string) (failure, bool) {
	if proxied {
		if f, known := recognise(proxySigns, line); known {
			return f, true
		}
	}
	return classify(line)
}

// datedBy adds what this box's clock says to a failure that may be the clock's.
func datedBy(now time.Time, f failure) failure {
	if f.remedy == remedyClock {
		f.cause += "; this box's clock says " + now.UTC().Format(time.DateOnly)
	}
	return f
}

// classify recognises a failure in a line of openvpn's log.
func classify(line string) (failure, bool) { return recognise(signs, line) }

func recognise(list []sign, line string) (failure, bool) {
	for _, s := range list {
		m := s.pattern.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := s.failure
		if strings.Contains(f.cause, "%s") {
			f.cause = fmt.Sprintf(f.cause, strings.TrimSpace(m[1]))
		}
		return f, true
	}
	return failure{}, false
}

// Reasons of openvpn that are told apart elsewhere too.
const (
	reasonToken      = "auth-failure (auth-token)"
	reasonTemporary  = "auth-temp-failure (server temporary reject)"
	reasonNoSettings = "no-push-reply"
	reasonSilence    = "ping-restart"
)

// What is waited for once the server knows who we are.
const (
	causeLogin    = "the server has not accepted the login yet"
	causeApproval = "the provider waits for an approval"
)

// restartReasons are the reasons that openvpn gives in RECONNECTING and EXITING events.
var restartReasons = map[string]failure{
	"server_poll": {state: StateBackoff, cause: "the server does not answer",
		remedy: remedyNetwork},
	reasonSilence: {state: StateBackoff,
		cause: "nothing came from the server for too long", remedy: remedyNetwork},
	"connection-reset": {state: StateBackoff,
		cause: "the server closed the connection"},
	"connection-failed": {state: StateBackoff,
		cause: "the server does not accept the connection", remedy: remedyNetwork},
	"tls-error": {state: StateBackoff,
		cause: "the TLS handshake did not succeed", remedy: remedyNetwork},
	"auth-failure": {state: StateAuthFailed,
		cause: "the server rejected the user name or password", remedy: remedyCredentials},
	reasonToken: {state: StateBackoff,
		cause: "the server no longer accepts the session's token"},
	"server-pushed-connection-reset": {state: StateBackoff,
		cause: "the server asked for a new connection"},
	"server-pushed-halt": {state: StateBackoff, cause: "the server ended the session"},
	"init_instance": {state: StateBackoff,
		cause: "openvpn could not begin the connection"},
	reasonNoSettings: {state: StateBackoff,
		cause: "the server took the login and sent no settings", remedy: remedySettings},
	"process-push-msg-failed": {state: StateTLSFailed,
		cause: "the server's settings cannot be used", remedy: remedyCipher},
	"HTTP proxy error": {state: StateBackoff, cause: "the proxy does not pass the connection on",
		remedy: remedyProxy},
	"socks-error": {state: StateBackoff, cause: "the proxy does not pass the connection on",
		remedy: remedyProxy},
	"exit-with-notification": {state: StateBackoff, cause: "openvpn ended"},
	"remote-exit": {state: StateBackoff,
		cause: "the server went away and said so"},
	"inactive": {state: StateBackoff,
		cause: "the tunnel was idle for too long"},
	reasonTemporary: {state: StateBackoff, cause: "the server asks to come back later",
		remedy: "the provider is overloaded or allows no more sessions; another server may help"},
}

// silent are the reasons by which a server that is reached by a proxy did not answer.
var silent = map[string]bool{"server_poll": true, "connection-reset": true,
	"connection-failed": true}

// weight orders failures: of several in one attempt the heaviest explains it.
func (f failure) weight() int {
	switch f.state {
	case StateConfigError:
		return 6
	case StateCertExpired:
		return 5
	case StateAuthFailed:
		return 4
	case StatePushRefused:
		return 3
	case StateTLSFailed:
		return 2
	case StateDNSFailed, StateBackoff:
		return 1
	}
	return 0
}

// worse returns the failure that explains an attempt in which both were seen.
func worse(a, b failure) failure {
	if b.weight() > a.weight() || a.cause == "" {
		return b
	}
	return a
}
