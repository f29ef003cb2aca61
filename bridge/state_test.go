package bridge

import (
	"net/netip"
	"os"
	"reflect"
	"testing"

	"ztbridge/bridge/decide"
)

// What lies behind the ingresses is known after a restart as it was before.
func TestConnectedPrefixesSurvive(t *testing.T) {
	dir := t.TempDir()
	want := map[string]decide.ConnectedPrefixes{"br-lan": {Prefixes: []netip.Prefix{
		netip.MustParsePrefix("192.168.50.0/24"), netip.MustParsePrefix("fd50::/64")}}}
	if err := saveConnected(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := loadConnected(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back %v (%v), want %v", got, err, want)
	}
}

func TestPreferenceSurvives(t *testing.T) {
	dir := t.TempDir()
	for _, want := range []string{"", "backup", ""} {
		if err := savePreference(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := loadPreference(dir); err != nil || got != want {
			t.Errorf("chosen %q, read back %q (%v)", want, got, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
}
