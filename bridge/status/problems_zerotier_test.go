package status

import (
	"testing"
	"ztbridge/bridge/api"
	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/zerotier"
)

// To be joining a network is a warning until it takes too long, and it never lacks words.
func TestJoiningCondition(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno)
	for _, waiting := range []bool{true, false} {
		s := decide.Snapshot{ZeroTier: bridgetest.Joined()}
		s.ZeroTier.Service.State = zerotier.ServiceOK
		n := &s.ZeroTier.Networks[0]
		n.State, n.Waiting, n.Cause = zerotier.NetworkJoining, waiting, "waiting for the controller"
		want := map[bool]api.Severity{true: api.SeverityWarning, false: api.SeverityError}[waiting]
		told := 0
		zerotierConditions(cfg, s, func(code, subject string, severity api.Severity, message,
			_ string, _ ...string) {
			if told++; code != "network-joining" || subject != bridgetest.Network ||
				severity != want ||
				message != n.Cause {
				t.Errorf("waiting %t: %s %s: %s %q", waiting, severity, code, subject, message)
			}
		})
		if told != 1 {
			t.Errorf("waiting %t: told %d times", waiting, told)
		}
	}
}
