package services

import (
	"context"
	"log/slog"
	"testing"
	"ztbridge/bridge/bridgetest"
)

// A driver lives through a reload of equal settings, also where they are behind pointers.
func TestKeyOf(t *testing.T) {
	moon := `
zerotier: {networks: [` + bridgetest.Network + `], moon: {endpoints: [203.0.113.7/9993]}}
egress: {provider: {openvpn: {profile: provider.ovpn}}}
endpoint: {address: vm.example.org, https: {acme: {email: you@example.org, directory: "https://acme.example/dir"}}}
`
	endpointKey := func(text string) string {
		l := &Spec{Config: bridgetest.Parse(t, text)}
		d := &Set{keys: map[string]string{}}
		return d.endpointTask(&Set{keys: map[string]string{}}, l).key
	}
	if a, b := keyOf("zerotier", bridgetest.Parse(t, moon).ZeroTier),
		keyOf("zerotier", bridgetest.Parse(t, moon).ZeroTier); a != b {
		t.Errorf("equal settings, other keys:\n%s\n%s", a, b)
	}
	if a, b := endpointKey(moon), endpointKey("# a line more\n"+moon); a != b {
		t.Errorf("equal settings, other keys:\n%s\n%s", a, b)
	}
	other := moon[:len(moon)-len("/dir\"}}}\n")] + "/other\"}}}\n"
	if endpointKey(moon) == endpointKey(other) {
		t.Error("another authority, the same key")
	}
}

// set starts what is new, leaves what stays, and has ended what is gone when it returns.
func TestSupervisorSet(t *testing.T) {
	s := newSupervisor(t.Context(), slog.New(slog.DiscardHandler))
	started, ended := make(chan string, 8), make(chan string, 8)
	run := func(name string) task {
		return task{key: name, run: func(ctx context.Context) error {
			started <- name
			<-ctx.Done()
			ended <- name
			return nil
		}}
	}
	s.set([]task{run("a"), run("b")})
	<-started
	<-started
	s.set([]task{run("b"), run("c")})
	if got := <-started; got != "c" {
		t.Errorf("%s was started again", got)
	}
	if len(ended) != 1 || <-ended != "a" {
		t.Error("what is gone had not ended, or more had")
	}
	s.set(nil)
	if len(ended) != 2 {
		t.Errorf("%d tasks ended, want 2", len(ended))
	}
}
