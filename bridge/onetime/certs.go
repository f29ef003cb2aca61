package onetime

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"ztbridge/bridge/certfile"
)

// TLS names the source of the certificate: files, an ACME authority, or, when neither is set, the
// server itself.
type TLS struct {
	// CertFile and KeyFile are PEM files of the operator's; read again when they change.
	CertFile, KeyFile string
	ACME              *ACME
}

// ACME obtains and renews a certificate by the TLS-ALPN-01 challenge, which needs the public port
// 443. Setting it agrees to the authority's terms.
type ACME struct {
	Directory string // URL
	Email     string // may be empty
	CacheDir  string // private; account key and certificates are kept there
	// Client is for authorities with a private root; http.DefaultClient when nil.
	Client *http.Client
}

// openTLS returns the source of certificates that the configuration names.
func (c Config) openTLS() (certificates, error) {
	t, host, now := c.TLS, c.Host, c.Now
	switch {
	case t.CertFile != "":
		// The operator may replace them at any time, so they are checked with each link.
		f := certfile.New(t.CertFile, t.KeyFile)
		check := func() error { return f.Check(host, now()) }
		get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.Get() }
		return certificates{get: get, check: check, obtain: check}, nil
	case t.ACME != nil:
		if _, err := netip.ParseAddr(host); err == nil {
			return certificates{}, fmt.Errorf(
				"obtaining a certificate by ACME for %s: it needs a public name, not an address",
				host)
		}
		o := &obtained{manager: t.ACME.manager(host), host: host, now: now, after: obtainAfter}
		return certificates{
			get: o.manager.GetCertificate, protos: []string{
				acme.ALPNProto}, run: o.run, check: o.check, obtain: o.wait,
		}, nil
	default:
		return selfSigned(c.Dir, host, now(), c.Log)
	}
}

// CacheFile returns the file of CacheDir that holds the certificate for host and its key, once
// there is one.
func CacheFile(dir, host string) string {
	return filepath.Join(dir, strings.ToLower(strings.TrimSuffix(host, ".")))
}

func (a ACME) manager(host string) *autocert.Manager {
	return &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(a.CacheDir),
		HostPolicy: autocert.HostWhitelist(host),
		Email:      a.Email,
		Client: &acme.Client{DirectoryURL: a.Directory, HTTPClient: a.Client,
			UserAgent: "ztbridge"},
	}
}
