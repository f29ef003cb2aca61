package status

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/onetime"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
	"ztbridge/policyroute/kernel"
)

// EndpointProblems returns the problems that keep the endpoint from working.
func EndpointProblems(s decide.Snapshot) []health.Problem {
	var out []health.Problem
	if err := s.Faults.Keys; err != nil {
		message := "no client can connect to the endpoint: "
		if slices.ContainsFunc(s.Endpoint.Listeners,
			func(l endpoint.ListenerStatus) bool { return l.State == endpoint.StateListening }) {
			message = "the endpoint works, with its old keys: "
		}
		out = append(out, health.Problem{Code: health.EndpointFailed,
			Message: message + err.Error(), Remedy: keysRemedy(err)})
	}
	if from, until := s.Faults.AuthorityFrom, s.Faults.AuthorityUntil; !until.IsZero() &&
		(s.Now.Before(from) || s.Now.After(until)) {
		out = append(out, health.Problem{Code: health.EndpointFailed, Subject: "authority",
			Message: fmt.Sprintf("no client can connect to the endpoint: its authority is valid "+
				"from %s to %s, and this box's clock says %s", from.Format(time.DateOnly),
				until.Format(time.DateOnly), s.Now.Format(time.DateOnly)),
			Remedy: "set the clock: timedatectl set-ntp true; if it is right, move the directory " +
				"pki out of the state directory (/var/lib/ztbridge), restart ztbridge, and give " +
				"each client a new profile"})
	}
	if err := s.Faults.Links; err != nil {
		out = append(out, health.Problem{Code: health.LinksUnavailable,
			Message: "one-time links cannot be opened: " + err.Error(),
			Remedy:  linksRemedy(err)})
	}
	for _, l := range s.Endpoint.Listeners {
		if l.State == endpoint.StateFailed {
			out = append(out, health.Problem{Code: health.ListenerFailed,
				Subject: l.Listener.Name(),
				Message: "clients cannot connect by " + l.Listener.Name() + ": " + l.Cause,
				Remedy:  l.Remedy})
		}
	}
	for _, b := range s.Paths.PortBlocks {
		name := config.Listener{Proto: b.Proto, Port: b.Number}.String()
		if !slices.ContainsFunc(out, func(p health.Problem) bool { return p.Subject == name }) {
			out = append(out, shutProblem(name, b))
		}
	}
	return out
}

// shutProblem tells what keeps clients from a listener that works.
func shutProblem(name string, b kernel.PortBlock) health.Problem {
	over, does := "", "drops what they send"
	if b.Family != 0 {
		over = " over " + familyName(b.Family)
	}
	if strings.Contains(b.Hook, "prerouting") {
		does = "drops what they send, or leads it elsewhere"
	}
	return health.Problem{Code: health.ListenerFailed, Subject: name,
		Message: fmt.Sprintf("clients on the Internet cannot connect by %s%s: %s %s", name,
			over, b.Block, does),
		Remedy: "let it through; do the same in the configuration of that firewall, or it comes " +
			"back",
		Command: b.AllowPort(b.Port)}
}

func linksRemedy(err error) string {
	if errors.Is(err, onetime.ErrDirectory) {
		return "check that the state directory, /var/lib/ztbridge if --state-dir names no other, " +
			"has space left and belongs to root; then: systemctl restart ztbridge"
	}
	return "check that endpoint.https names a valid certificate for endpoint.address and its own " +
		"key, or that its authority reaches this box by that name at tcp/443; it is tried again " +
		"by itself"
}

func keysRemedy(err error) string {
	switch {
	case errors.Is(err, pki.ErrNewer):
		return "install the version of ztbridge that wrote it, or a later one"
	case errors.Is(err, pki.ErrDamaged):
		return "restore a backup: ztbridge client import-ca --replace FILE"
	case errors.Is(err, pki.ErrLocked):
		return "it is tried again by itself; see who holds it: fuser -v on the lock file"
	}
	return "check that the state directory, /var/lib/ztbridge if --state-dir names no other, is " +
		"there, has space left and belongs to root"
}
