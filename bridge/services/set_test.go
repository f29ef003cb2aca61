package services

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/profile"
)

// A person who asks does not wait for a tunnel that waits for a person.
func TestRetry(t *testing.T) {
	provider, _, err := profile.Load("../openvpn/profile/testdata/profiles/nord-style.ovpn",
		profile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	attempts := make(chan bool, 100)
	dir := t.TempDir()
	tunnel, err := client.New(client.Config{
		Name: "provider", Profile: provider, Credentials: &profile.Credentials{Username: "u",
			Password: "p"}, Device: "tunztb0",
		EnsureDevice: func() (string, error) {
			attempts <- true
			return "", errors.New("the test has no device")
		},
		RuntimeDir: dir, StateDir: dir, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tunnel.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	d := &Set{}
	d.current.Store(&services{tunnels: map[string]*client.Tunnel{"provider": tunnel}})
	d.Retry("direct") // no tunnel
	for i := range 3 {
		select {
		case <-attempts:
		case <-time.After(5 * time.Second): // the first wait is of 10 s, less a fifth
			t.Fatalf("after %d attempts the tunnel is %+v", i, tunnel.Status())
		}
		for tunnel.Status().NextRetry.IsZero() {
			time.Sleep(time.Millisecond)
		}
		d.Retry("provider")
	}
}
