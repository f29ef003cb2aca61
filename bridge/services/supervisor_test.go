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
		return new(Set).endpointTask(newServices(), newServices(), l).key
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

// set starts what is new, leaves what stays, tells what is gone to end and waits for nothing. stop
// waits for all.
func TestSupervisorSet(t *testing.T) {
	gone := make(chan bool, 8)
	s := newSupervisor(t.Context(), slog.New(slog.DiscardHandler), func() { gone <- true })
	started, ended := make(chan string, 8), make(chan string, 8)
	hold := make(chan bool) // what keeps every task from ending
	run := func(key, uses string) task {
		return task{key: key, uses: uses, run: func(ctx context.Context) error {
			started <- key
			<-ctx.Done()
			<-hold
			ended <- key
			return nil
		}}
	}
	s.set([]task{run("a", "tun0"), run("b", "")})
	<-started
	<-started
	s.set([]task{run("b", ""), run("c", ""), run("a again", "tun0")})
	if got := <-started; got != "c" {
		t.Errorf("%s was started, want c alone: a still uses tun0, b stays", got)
	}
	select {
	case got := <-started:
		t.Errorf("%s was started too", got)
	case got := <-ended:
		t.Errorf("%s has ended, and the test proves nothing", got)
	default:
	}
	close(hold)
	if got := <-started; got != "a again" || <-ended != "a" {
		t.Errorf("%s was started when a had ended", got)
	}
	<-gone
	s.stop()
	if len(ended) != 3 {
		t.Errorf("%d tasks ended, want 3", len(ended))
	}
}

// A task that is cancelled while it waits for another one's device never runs, and whoever comes
// after it waits for that device all the same.
func TestSupervisorPassesADeviceOn(t *testing.T) {
	s := newSupervisor(t.Context(), slog.New(slog.DiscardHandler), func() {})
	started, hold := make(chan string, 8), make(chan bool)
	run := func(key string) task {
		return task{key: key, uses: "tun0", run: func(ctx context.Context) error {
			started <- key
			<-ctx.Done()
			if key == "first" {
				<-hold
			}
			return nil
		}}
	}
	s.set([]task{run("first")})
	<-started
	s.set([]task{run("second")})
	s.set([]task{run("third")})
	if len(started) != 0 {
		t.Errorf("%s was started beside the first", <-started)
	}
	close(hold)
	if got := <-started; got != "third" {
		t.Errorf("%s was started, want the third", got)
	}
	s.stop()
}
