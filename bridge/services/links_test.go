package services

import (
	"testing"

	"ztbridge/bridge/config"
)

// TestPageCertificate: the page has the endpoint's certificate, and never one that signs itself.
func TestPageCertificate(t *testing.T) {
	for name, c := range map[string]struct {
		endpoint  *config.Endpoint
		cert, key string
	}{
		"no endpoint": {},
		"self-signed": {endpoint: &config.Endpoint{Address: "a.example.org"}},
		"own":         {&config.Endpoint{HTTPS: config.HTTPS{Certificate: "/c", Key: "/k"}}, "/c", "/k"},
		"acme": {&config.Endpoint{Address: "A.example.org", HTTPS: config.HTTPS{
			ACME: &config.ACME{}}}, "/s/acme/a.example.org", "/s/acme/a.example.org"},
	} {
		l := &Spec{Config: &config.Config{Endpoint: c.endpoint}}
		if got := l.PageCertificate("/s"); got != [2]string{c.cert, c.key} {
			t.Errorf("%s: %q", name, got)
		}
	}
}
