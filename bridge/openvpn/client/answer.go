package client

import (
	"fmt"
	"regexp"
	"strings"

	"ztbridge/bridge/openvpn/management"
	"ztbridge/bridge/openvpn/profile"
)

// proxyLogin ends the names of what openvpn asks for: "HTTP Proxy" and "SOCKS Proxy".
const proxyLogin = " Proxy"

func (r *run) answerPassword(what string) *outcome {
	c := r.t.cfg.Profile.For(r.target.remote).CredentialsOr(r.t.cfg.Credentials)
	switch {
	case what == "Auth" && c.Username != "":
		return r.answerLogin(what, c)
	case what == "Private Key" && c.KeyPassphrase != "":
		return r.command("password %s %s", management.Quote(what),
			management.Quote(c.KeyPassphrase))
	}
	login := r.proxyLogin()
	if login != nil && strings.HasSuffix(what, proxyLogin) {
		return r.answerLogin(what, login)
	}
	remedy := remedyCredentials
	switch {
	// whether a pkcs12 bundle is encrypted shows only when it is read
	case what == "Private Key":
		remedy = remedyPassphrase
	case strings.HasSuffix(what, proxyLogin):
		return &outcome{failure: proxyWantsLogin}
	}
	return &outcome{failure: failure{state: StateConfigError,
		cause: fmt.Sprintf("openvpn asks for %q, which was not given", what), remedy: remedy}}
}

func (r *run) proxyLogin() *profile.Credentials {
	return r.t.cfg.Profile.ProxyLogin(r.target.remote)
}

func (r *run) answerLogin(what string, c *profile.Credentials) *outcome {
	if v := r.command("username %s %s", management.Quote(what),
		management.Quote(c.Username)); v != nil {
		return v
	}
	return r.command("password %s %s", management.Quote(what), management.Quote(c.Password))
}

func (r *run) refused(e refuseEvent) *outcome {
	if strings.HasSuffix(e.what, proxyLogin) {
		r.lastFailure = worse(r.lastFailure, refusedByProxy)
		return nil
	}
	if e.what != "Auth" {
		return &outcome{failure: failure{state: StateConfigError,
			cause:  "the passphrase of the private key is wrong",
			remedy: remedyPassphrase}}
	}
	f, known := challenged(e.reason)
	if !known {
		f, known = classify(e.reason) // "no shared cipher" comes this way too
	}
	if !known {
		f = restartReasons["auth-failure"]
		if e.reason != "" {
			f.cause += ": " + e.reason
		}
	}
	r.lastFailure = worse(r.lastFailure, f)
	return nil
}

// challenge is a dynamic challenge: CRV1:flags:state:user name in base64:text. What is before the
// text is the client's business, and not for anybody to read.
var challenge = regexp.MustCompile(`CRV1:[^:]*:[^:]*:[^:]*:`)

// challenged recognises the refusal of a server that wants a second factor.
func challenged(reason string) (failure, bool) {
	at := challenge.FindStringIndex(reason)
	if at == nil || at[0] != 0 {
		return failure{}, false
	}
	f := failure{state: StateAuthFailed, cause: "the server wants a second factor",
		remedy: remedySecondFactor}
	if text := strings.TrimSpace(reason[at[1]:]); text != "" {
		f.cause += ": " + text
	}
	return f, true
}
