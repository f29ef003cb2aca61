package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// TestEndpointOneTimeLink downloads a profile over TCP 443, where the same port serves OpenVPN: it
// works once with a minute of grace, and a client that is connected by that port does not notice.
func TestEndpointOneTimeLink(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	provider := top.Providers[0]
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", duoConfig)
	leaks := watchGuests(t, top)
	b.start()
	b.awaitEgress("provider")
	tablet := newGuest(t, top, b, "tablet", "tcp") // is connected all the while
	working := tablet.stream(lab.UDP, targetOf(lab.ClientTarget4), 50, top.Marker)
	awaitAnswers(t, working, 10)

	b.mustRun("client", "add", "phone")
	profile := b.mustRun("client", "show", "phone")
	fromAPI, err := api.Dial(filepath.Join(b.dir, "run", api.SocketName)).Link(t.Context(),
		api.LinkRequest{Client: "phone"})
	must(t, err)
	printed := ""
	for line := range strings.Lines(b.mustRun("client", "show", "phone", "--qr")) {
		if strings.HasPrefix(line, "https://198.51.100.2/") {
			printed = strings.TrimSpace(line)
		}
	}
	for _, c := range []struct {
		name, url string
		status    int
		body      string
	}{
		{"the link before the last one", fromAPI.URL, http.StatusGone, ""},
		{"the link", printed, http.StatusOK, profile},
		{"the link again, in the minute of grace", printed, http.StatusOK, profile},
		{"another token", printed[:len(printed)-1] + "-", http.StatusNotFound, ""},
		{"no link", "https://198.51.100.2/", http.StatusOK, ""},
	} {
		got := download(t, top.Internet, c.url)
		if got.status != c.status {
			t.Errorf("%s: status %d, want %d", c.name, got.status, c.status)
		}
		if c.body != "" && got.body != c.body {
			t.Errorf("%s: %d bytes that are not the profile's %d", c.name, len(got.body),
				len(c.body))
		}
		if c.body == "" && strings.Contains(got.body, "PRIVATE KEY") {
			t.Errorf("%s gives keys away", c.name)
		}
		if got.fingerprint != fromAPI.Fingerprint {
			t.Errorf("%s: the certificate has the fingerprint %s, want the announced %s", c.name,
				got.fingerprint, fromAPI.Fingerprint)
		}
	}

	awaitAnswers(t, working, 10)
	onlySeenAs(t, "the client that was connected", working, provider.Public4[0])
	noLeak(t, leaks)
}

// downloaded is what a browser got.
type downloaded struct {
	status      int
	body        string
	fingerprint string // of the certificate, SHA-256
}

// download opens a link as a browser would whose user accepts any certificate.
func download(t *testing.T, from *netlab.Namespace, url string) downloaded {
	t.Helper()
	web := http.Client{Timeout: waitTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return from.Dial(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the fingerprint is compared
	}}
	answer, err := web.Get(url)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	sum := sha256.Sum256(answer.TLS.PeerCertificates[0].Raw)
	return downloaded{answer.StatusCode, string(text), hex.EncodeToString(sum[:])}
}
