package bridge

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"ztbridge/bridge/pki"
)

// An address that was a revoked client's is its new owner's: no rule for the old one applies to it. While nobody else
// has it, the rule holds on, for the last moments of a session.
func TestAddressesChangeTheirOwner(t *testing.T) {
	e, _ := testEndpoint(t, plainEndpoint)
	add := func(name string) netip.Addr {
		t.Helper()
		c, err := e.store.Add(pki.Request{Name: name, Host: 50, LastHost: 100})
		if err != nil {
			t.Fatal(err)
		}
		return e.addressesOf(c)[0]
	}
	addr := add("lost")
	for _, step := range []struct{ revoke, add, owner string }{
		{"", "", "lost"}, {"lost", "", "lost"}, {"", "stranger", "stranger"}, {"stranger", "third", "third"},
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
				t.Errorf("after %+v: %s has %v, want %s to be %s's alone", step, name, addrs, addr, step.owner)
			}
		}
	}
	if got := e.revoked(); !slices.Equal(got, []string{"lost", "stranger"}) {
		t.Errorf("revoked: %v", got)
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
