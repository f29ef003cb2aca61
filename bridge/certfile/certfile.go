package certfile

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// File is a certificate in files. It is safe for concurrent use; make one with New.
type File struct {
	cert, key string

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  [2]time.Time
}

// New returns the certificate in PEM files, which need not exist yet. Both may be one file.
func New(cert, key string) *File { return &File{cert: cert, key: key} }

// Get returns the certificate, read again when a file has changed. While the files are unreadable
// or do not match, as in the middle of a renewal, it returns the last good pair.
func (f *File) Get() (*tls.Certificate, error) {
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

// Check returns why the certificate cannot be used for host at now.
func (f *File) Check(host string, now time.Time) error {
	pair, err := f.Get()
	if err != nil {
		return err
	}
	if err := Usable(pair, host, now); err != nil {
		return fmt.Errorf("checking the certificate %s: %w", f.cert, err)
	}
	return nil
}

// Usable returns why clients that connect to host would refuse a certificate at now, whomever they
// trust.
func Usable(cert *tls.Certificate, host string, now time.Time) error {
	switch {
	case now.After(cert.Leaf.NotAfter):
		return fmt.Errorf("it has expired on %s", cert.Leaf.NotAfter.Format(time.DateOnly))
	case now.Before(cert.Leaf.NotBefore):
		return fmt.Errorf("it is not valid before %s", cert.Leaf.NotBefore.Format(time.DateTime))
	}
	return cert.Leaf.VerifyHostname(host)
}
