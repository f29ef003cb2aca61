package openvpn

import (
	"fmt"

	"ztbridge/bridge/openvpn/management"
)

func (r *run) answerPassword(what string) *verdict {
	c := r.t.cfg.Credentials
	if c == nil {
		c = &Credentials{}
	}
	switch {
	case what == "Auth" && c.Username != "":
		if v := r.command("username %s %s", management.Quote(what), management.Quote(c.Username)); v != nil {
			return v
		}
		return r.command("password %s %s", management.Quote(what), management.Quote(c.Password))
	case what == "Private Key" && c.KeyPassphrase != "":
		return r.command("password %s %s", management.Quote(what), management.Quote(c.KeyPassphrase))
	}
	return &verdict{failure: failure{state: StateConfigError, cause: fmt.Sprintf("openvpn asks for %q, which was not given", what),
		remedy: remedyCredentials}}
}

func (r *run) refused(e refuseEvent) *verdict {
	if e.what != "Auth" {
		return &verdict{failure: failure{state: StateConfigError, cause: "the passphrase of the private key is wrong",
			remedy: remedyPassphrase}}
	}
	f, known := classify(e.reason) // "no shared cipher" comes this way too
	if !known {
		f = restartReasons["auth-failure"]
		if e.reason != "" {
			f.cause += ": " + e.reason
		}
	}
	r.blame = heavier(r.blame, f)
	return nil
}
