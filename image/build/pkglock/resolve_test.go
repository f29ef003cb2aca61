package pkglock

import (
	"context"
	"os/exec"
	"strings"
	"testing"
)

// A lock made while the security archive is away would hold what it has long repaired. apt takes
// minutes to give an archive up, so it is asked for its mode alone.
func TestEveryArchiveIsWanted(t *testing.T) {
	if _, err := exec.LookPath("apt-config"); err != nil {
		t.Skip("SKIPPED: apt-config is not installed")
	}
	req := Request{Suite: "trixie", Components: []string{"main"},
		Mirror:  "http://mirror.example.org",
		Keyring: "/usr/share/keyrings/debian-archive-keyring.gpg"}
	apt, err := newPrivateApt("amd64", req.sources(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := apt.run(context.Background(), "apt-config", "dump")
	if err != nil || !strings.Contains(string(out), "\nAPT::Update::Error-Mode \"any\";\n") {
		t.Errorf("an index that cannot be fetched is a mere warning: %v\n%s", err, out)
	}
}
