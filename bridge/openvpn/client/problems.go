package client

import (
	"fmt"

	"ztbridge/bridge/health"
)

// codes are the codes of the states in which a tunnel carries nothing.
var codes = map[State]health.Code{
	StateStopped: health.TunnelStopped, StateResolving: health.TunnelResolving,
	StateConnecting: health.TunnelConnecting, StateReconnecting: health.TunnelReconnecting,
	StateBackoff: health.TunnelBackoff, StateAuthFailed: health.TunnelAuthFailed,
	StateTLSFailed: health.TunnelTLSFailed, StateDNSFailed: health.TunnelDNSFailed,
	StateCertExpired: health.TunnelCertExpired, StateConfigError: health.TunnelConfigError,
	StatePushRefused: health.TunnelPushRefused,
}

// stateWords are the states as people read them where no cause is known.
var stateWords = map[State]string{
	StateStopped: "stopped", StateResolving: "looking up its server's name",
	StateConnecting: "connecting", StateReconnecting: "reconnecting",
	StateBackoff: "waiting before it connects again", StateAuthFailed: "refused by its server",
	StateTLSFailed: "not able to agree with its server", StateDNSFailed: "without a server's name",
	StateCertExpired: "held up by a certificate", StateConfigError: "not able to use its profile",
	StatePushRefused: "refusing what its server assigns",
}

// Problems returns what is wrong with a tunnel: why it carries nothing, and remarks on one that may
// well work. Their subject is the name of its egress.
func (s Status) Problems(egress string) []health.Problem {
	var out []health.Problem
	if code, bad := codes[s.State]; bad {
		message := fmt.Sprintf("%s is %s", egress, stateWords[s.State])
		if s.Cause != "" {
			message = fmt.Sprintf("%s is not connected: %s", egress, s.Cause)
		}
		out = append(out, health.Problem{Code: code, Subject: egress, Message: message,
			Remedy: s.Remedy})
	}
	for _, w := range s.Warnings {
		out = append(out, health.Problem{Code: health.TunnelWarning, Subject: egress, Message: w})
	}
	return out
}
