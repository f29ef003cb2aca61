package onetime

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// TLS says where the certificate comes from: from files, from an ACME authority, or, when neither
// is set, from the server itself.
type TLS struct {
	// CertFile and KeyFile are PEM files of the operator's; they are read again when they change.
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

func (t TLS) open(host string, now func() time.Time) (certificates, error) {
	switch {
	case t.CertFile != "":
		// The operator may mend them at any time: what is wrong with them is said with each link.
		f := &files{cert: t.CertFile, key: t.KeyFile}
		trouble := func() error { return f.check(host, now()) }
		return certificates{get: f.get, trouble: trouble, ready: trouble}, nil
	case t.ACME != nil:
		if _, err := netip.ParseAddr(host); err == nil {
			return certificates{}, fmt.Errorf(
				"obtaining a certificate by ACME for %s: it needs a public name, not an address",
				host)
		}
		o := &obtained{manager: t.ACME.manager(host), host: host, now: now}
		return certificates{
			get: o.manager.GetCertificate, protos: []string{
				acme.ALPNProto}, run: o.run, trouble: o.trouble, ready: o.ready,
		}, nil
	default:
		return selfSigned(host, now())
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
// or do not belong together, as in the middle of a renewal, it stays with the last good pair.
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

// check says why the certificate cannot be used at now for host.
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

// selfLife outlives any link of a server that runs on for years; a restart makes a new certificate.
const selfLife = 10 * 365 * 24 * time.Hour

// selfSigned makes a certificate that nobody vouches for; its fingerprint is shown with each link.
func selfSigned(host string, now time.Time) (certificates, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificates{}, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return certificates{}, fmt.Errorf("making a serial number: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: host},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.Add(selfLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return certificates{}, fmt.Errorf("signing a certificate for %s: %w", host, err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	sum := sha256.Sum256(der)
	return certificates{
		get:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
		trouble:     func() error { return nil },
		ready:       func() error { return nil },
		fingerprint: hex.EncodeToString(sum[:]),
	}, nil
}
