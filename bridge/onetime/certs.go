package onetime

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
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
		f := &files{cert: t.CertFile, key: t.KeyFile}
		check := func() error { return f.check(host, now()) }
		return certificates{get: f.get, check: check, obtain: check}, nil
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

// files is a certificate in files that another program may renew.
type files struct {
	cert, key string

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  [2]time.Time
}

// get returns the certificate, read again when a file has changed. While the files are unreadable
// or do not match, as in the middle of a renewal, it returns the last good pair.
func (f *files) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var stamp [2]time.Time
	for i, path := range []string{f.cert, f.key} {
		if info, err := os.Stat(path); err == nil {
			stamp[i] = info.ModTime()
		}
	}
	if f.loaded != nil && stamp == f.stamp {
		return f.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		if f.loaded != nil {
			return f.loaded, nil
		}
		return nil, fmt.Errorf("loading the certificate %s: %w", f.cert, err)
	}
	f.loaded, f.stamp = &pair, stamp
	return f.loaded, nil
}

// check returns why the certificate cannot be used for host at now.
func (f *files) check(host string, now time.Time) error {
	pair, err := f.get(nil)
	if err != nil {
		return err
	}
	if err := usable(pair, host, now); err != nil {
		return fmt.Errorf("checking the certificate %s: %w", f.cert, err)
	}
	return nil
}
