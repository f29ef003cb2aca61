package onetime

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"ztbridge/bridge/certfile"
)

const (
	// selfSignedLife is how long a self-signed certificate is valid. Apps remember its key, so it
	// lasts for as long as the box keeps its address.
	selfSignedLife = 10 * 365 * 24 * time.Hour
	// selfSignedRest is what must be left of that when the server starts.
	selfSignedRest = 30 * 24 * time.Hour

	selfSignedFile = "self-signed.pem"
)

// earliest is a moment before which no box is: a clock that says less is not set yet.
var earliest = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// selfSigned returns the self-signed certificate for host, whose fingerprint is shown with each
// link. It is kept in dir, so that apps that remember its key go on trusting it after a restart.
// One for another host, or near its end, is replaced with its key.
func selfSigned(dir, host string, now time.Time, log *slog.Logger) (certificates, error) {
	path := filepath.Join(dir, selfSignedFile)
	cert, err := loadSelfSigned(path, host, now)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("making a new self-signed certificate", "reason", err)
		}
		if cert, err = makeSelfSigned(path, host, now); err != nil {
			return certificates{}, err
		}
	}
	sum := sha256.Sum256(cert.Certificate[0])
	return certificates{
		get:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
		check:       func() error { return nil },
		obtain:      func() error { return nil },
		fingerprint: hex.EncodeToString(sum[:]),
	}, nil
}

// loadSelfSigned reads the certificate and its key, and checks that host can use them.
func loadSelfSigned(path, host string, now time.Time) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	// The clock of a board without a battery may be behind: that is no reason for a new key.
	at := later(now, cert.Leaf.NotBefore).Add(selfSignedRest)
	if err := certfile.Usable(&cert, host, at); err != nil {
		return nil, fmt.Errorf("checking %s: %w", path, err)
	}
	return &cert, nil
}

func makeSelfSigned(path, host string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: host},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     later(now, earliest).Add(selfSignedLife),
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
		return nil, fmt.Errorf("signing a certificate for %s: %w", host, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	data := bytes.Join([][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil)
	if err := renameio.WriteFile(path, data, 0o600); err != nil {
		return nil, fmt.Errorf("writing %s: %w: %w", path, ErrDirectory, err)
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate for %s: %w", host, err)
	}
	return &cert, nil
}

// tokenKeyFile holds the key by which the server recognises links of its own, ended ones too.
const tokenKeyFile = "token.key"

// tokenKey returns the key of tokens in dir, and makes both on the first run.
func tokenKey(dir string) ([]byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDirectory, err)
	}
	path := filepath.Join(dir, tokenKeyFile)
	key, err := os.ReadFile(path)
	if err == nil && len(key) == sha256.Size {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the key of links: %w: %w", ErrDirectory, err)
	}
	key = make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	if err := renameio.WriteFile(path, key, 0o600); err != nil {
		return nil, fmt.Errorf("writing the key of links: %w: %w", ErrDirectory, err)
	}
	return key, nil
}
