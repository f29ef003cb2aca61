package main

import (
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/web"
	device "ztbridge/image/device/box"
)

// TestImageKnowsTheClaim: the set-up of an image looks for the very file that a claim is.
func TestImageKnowsTheClaim(t *testing.T) {
	dir := t.TempDir()
	if _, err := web.OpenAccounts(web.Dir(dir)).OpenClaim(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(web.Dir(dir), "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	const stateDir = "/var/lib/ztbridge"
	if got := stateDir + strings.TrimPrefix(files[0], dir); got != device.Claim {
		t.Errorf("it is %s, and the image looks for %s", got, device.Claim)
	}
}
