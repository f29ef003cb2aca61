package pki

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Remote is one public socket of the endpoint.
type Remote struct {
	Proto string // "udp" or "tcp"
	Port  uint16
}

// profileTimeout is how long a client waits for the first answer of a remote before it tries the
// next. In a café that drops UDP each connection costs that time; a round trip on any usable link
// takes less.
const profileTimeout = 5

// Profile writes the whole configuration of a client in one file: UDP remotes first, then TCP, in
// the given order. It is for OpenVPN 2.5 and later, OpenVPN Connect and OpenVPN for Android. What
// the client routes and whom it asks for names is not in it: the server says so at each connection,
// so that changing one's mind needs no new profile. The result holds secrets.
//
// The mobile programs refuse a profile with a directive that they do not know, so only such stand
// here as all of them accept.
func Profile(c Credentials, address string, remotes []Remote) ([]byte, error) {
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	if len(remotes) == 0 {
		return nil, errors.New("writing a profile: the endpoint listens nowhere")
	}
	ordered := slices.Clone(remotes)
	slices.SortStableFunc(ordered, func(a, b Remote) int {
		return -strings.Compare(a.Proto, b.Proto)
	})

	var b bytes.Buffer
	// Both mobile programs take the name they show from this comment.
	fmt.Fprintf(&b, "# OVPN_ACCESS_SERVER_FRIENDLY_NAME=%s@%s\n", c.Client.Name, address)
	// The device stays while the client looks for the server, so that nothing passes by it. Names
	// can then not be asked for again, since the resolver is behind the device as well: they are
	// looked up before it is there.
	b.WriteString("client\ndev tun\nnobind\npersist-tun\npreresolve\n")
	for _, r := range ordered {
		fmt.Fprintf(&b, "remote %s %d %s\n", address, r.Port, r.Proto)
	}
	fmt.Fprintf(&b, "server-poll-timeout %d\n", profileTimeout)
	fmt.Fprintf(&b, "remote-cert-tls server\nverify-x509-name %s name\n", ServerName)
	b.WriteString("tls-version-min 1.2\nverb 3\n")
	for _, block := range []struct {
		tag  string
		data []byte
	}{{"ca", c.CA}, {"cert", c.Cert}, {"key", c.Key}, {"tls-crypt-v2", c.CryptV2}} {
		fmt.Fprintf(&b, "<%s>\n%s\n</%s>\n", block.tag, bytes.TrimSpace(block.data), block.tag)
	}
	return b.Bytes(), nil
}

var hostPattern = regexp.MustCompile(
	`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// checkAddress lets names and addresses through, and nothing that would begin another directive.
func checkAddress(address string) error {
	if _, err := netip.ParseAddr(address); err == nil && !strings.Contains(address, "%") {
		return nil
	}
	if len(address) > 253 || !hostPattern.MatchString(address) {
		return fmt.Errorf("writing a profile: %.80q is neither a host name nor an address", address)
	}
	return nil
}
