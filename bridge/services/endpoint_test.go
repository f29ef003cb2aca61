package services

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
)

// An address that was a revoked client's is its new owner's: no rule for the old one applies to it.
// While nobody else has it, the rule holds on, for the last moments of a session.
func TestAddressesChangeTheirOwner(t *testing.T) {
	e, _ := testEndpoint(t, plainEndpoint)
	add := func(name string) netip.Addr {
		t.Helper()
		c, err := e.store.Add(pki.Request{Name: name, Host: 50, LastHost: 100})
		if err != nil {
			t.Fatal(err)
		}
		return poolAddresses(c, e.listeners)[0]
	}
	addr := add("lost")
	for _, step := range []struct{ revoke, add, owner string }{
		{"", "", "lost"}, {"lost", "", "lost"}, {"", "stranger", "stranger"}, {"stranger", "third",
			"third"},
	} {
		if step.revoke != "" {
			if _, err := e.store.Revoke(step.revoke); err != nil {
				t.Fatal(err)
			}
		}
		if step.add != "" {
			add(step.add)
		}
		for name, addrs := range e.addresses() {
			if slices.Contains(addrs, addr) != (name == step.owner) {
				t.Errorf("after %+v: %s has %v, want %s to be %s's alone", step, name, addrs, addr,
					step.owner)
			}
		}
	}
	if got := e.revoked(); !slices.Equal(got, []string{"lost", "stranger"}) {
		t.Errorf("revoked: %v", got)
	}
}

// A client whose rules cannot be put in force is not admitted, and the key store is not to blame.
func TestClientsWaitForTheirRules(t *testing.T) {
	e, _ := testEndpoint(t, plainEndpoint)
	c, err := e.store.Add(pki.Request{Name: "phone", LastHost: 100})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := e.registry(ctx)
	cancel() // nobody waits for a pass that never comes
	if _, err := r.Client("phone"); !errors.Is(err, endpoint.ErrNotReady) {
		t.Errorf("without its rules: %v, want ErrNotReady", err)
	}
	if all, err := r.Clients(); err != nil || all["phone"].Serial != c.Serial {
		t.Errorf("all clients: %v, %v; want phone without a wait", all, err)
	}
	e.applied(e.addresses())
	if _, err := r.Client("phone"); err != nil {
		t.Errorf("with its rules: %v", err)
	}
}

// Of clients that are all revoked, an address is the last one's.
func TestLastOwner(t *testing.T) {
	hour := func(n int) time.Time { return time.Date(2026, 5, 1, n, 0, 0, 0, time.UTC) }
	now := hour(9)
	first := pki.Client{Name: "first", Host: 5, Issued: hour(1), Revoked: &now}
	second := pki.Client{Name: "second", Host: 5, Issued: hour(2), Revoked: &now}
	for _, list := range [][]pki.Client{{first, second}, {second, first}} {
		if got := owners(list)[5]; got != "second" {
			t.Errorf("of %v: %s, want second", list, got)
		}
	}
}

// Every name that the key store takes can be named in a rule, or is refused when the client is
// added.
func TestClientsCanBeNamed(t *testing.T) {
	const head = "zerotier: {networks: [{id: " + bridgetest.Network +
		", name: mesh}]}\ningress: [{name: lan, interface: eth1}]\n" + plainEndpoint
	plain := bridgetest.Parse(t, head)
	for name, refused := range map[string]bool{
		"phone": false, "Phone": false, "max.mustermann": false, "my_phone": false, "2nd": false,
		"7": false, "true": false,
		"a234567890123456789012345678901234567890": false,
		"endpoint": true, "zerotier": true, "mesh": true, "lan": true, bridgetest.Network: true,
		"Endpoint": true, "ZeroTier": true, "LAN": true, "abcdef01230000ff": true,
		"10.83.64.7": true, "1.2": true,
	} {
		if err := pki.CheckName(name); err != nil {
			t.Fatal(err)
		}
		if err := plain.CheckClientName(name); (err != nil) != refused {
			t.Errorf("adding %s: %v, want an error: %t", name, err, refused)
		}
		if refused {
			continue
		}
		cfg := bridgetest.Parse(t, strings.Replace(head, "from: [endpoint]", "from: ["+name+"]", 1))
		if s := cfg.Policy[0].From[0]; s.Kind != config.ByClient || s.Client != name {
			t.Errorf("%s is selected as %+v", name, s)
		}
	}
}
