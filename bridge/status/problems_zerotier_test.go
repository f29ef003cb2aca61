package status

import (
	"slices"
	"testing"
	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
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
		want := map[bool]health.Severity{true: health.Warning, false: health.Error}[waiting]
		var got []health.Problem
		for _, p := range zerotierProblems(cfg, s) {
			got = append(got, p.Fill())
		}
		joining := []health.Problem{{Code: health.NetworkJoining, Subject: bridgetest.Network,
			Severity: want, Message: n.Cause}}
		if !slices.Equal(got, joining) {
			t.Errorf("waiting %t: %+v, want %+v", waiting, got, joining)
		}
	}
}
