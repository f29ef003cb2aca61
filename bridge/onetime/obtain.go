package onetime

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"ztbridge/bridge/certfile"
)

const (
	// obtainAfter leaves openvpn the time to listen: the authority connects back to it.
	obtainAfter = 10 * time.Second
	// obtainAgain stays below the failed attempts that authorities allow, five an hour for Let's
	// Encrypt.
	obtainAgain = 15 * time.Minute
	// obtainTimeout is how long a request for a link waits for the certificate.
	obtainTimeout = 20 * time.Second
	// autocert repeats a failed attempt after a minute only, and reports no reason until then.
	autocertRetry = time.Minute
)

// obtained is the certificate of an ACME authority. It is requested before anybody opens a link, so
// that errors are known.
type obtained struct {
	manager *autocert.Manager
	host    string
	now     func() time.Time
	after   time.Duration // before the first attempt

	asking sync.Mutex // held while the authority is asked

	mu    sync.Mutex
	err   error     // why there is no certificate; nil as long as nobody has asked
	tried time.Time // when that was found out
}

// run obtains the certificate and checks it every obtainAgain, until ctx ends. It does not wait for
// an answer of the authority then, which may take minutes.
func (o *obtained) run(ctx context.Context) {
	wait := time.NewTimer(o.after)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		answered := make(chan struct{})
		go func() {
			_ = o.obtain() // see check
			close(answered)
		}()
		select {
		case <-ctx.Done():
			return
		case <-answered:
		}
		wait.Reset(obtainAgain)
	}
}

// obtain returns nil when there is a certificate, or why the authority gives none. It may block for
// minutes.
func (o *obtained) obtain() error {
	o.asking.Lock()
	defer o.asking.Unlock()
	o.mu.Lock()
	last, tried := o.err, o.tried
	o.mu.Unlock()
	if last != nil && time.Since(tried) < autocertRetry {
		return last
	}
	// Asks like a current browser: for others autocert would make an RSA key.
	cert, err := o.manager.GetCertificate(&tls.ClientHelloInfo{
		ServerName: o.host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
	if err == nil {
		err = certfile.Usable(cert, o.host, o.now())
	}
	if err != nil {
		err = fmt.Errorf("obtaining a certificate for %s from %s: %w", o.host,
			o.manager.Client.DirectoryURL, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err, o.tried = err, time.Now()
	return err
}

// check returns why there was no certificate at the last attempt.
func (o *obtained) check() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// wait is obtain for a person who waits: it blocks for obtainTimeout at most.
func (o *obtained) wait() error {
	answer := make(chan error, 1)
	go func() { answer <- o.obtain() }()
	select {
	case err := <-answer:
		return err
	case <-time.After(obtainTimeout):
		return fmt.Errorf(
			"obtaining a certificate for %s: the authority has not answered yet; try again in a "+
				"minute", o.host)
	}
}
