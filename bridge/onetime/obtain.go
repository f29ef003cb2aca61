package onetime

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"
)

const (
	// obtainAfter leaves openvpn the time to listen: the authority connects back to it.
	obtainAfter = 10 * time.Second
	// obtainAgain keeps below what authorities allow of failed tries, five an hour with Let's
	// Encrypt.
	obtainAgain = 15 * time.Minute
	// obtainPatience is how long a person waits for a certificate who asks for a link.
	obtainPatience = 20 * time.Second
	// autocert forgets what failed after a minute, and until then says only that there is nothing.
	autocertForgets = time.Minute
)

// obtained is the certificate of an ACME authority. It is asked for before anybody opens a link, so
// that what is wrong is known.
type obtained struct {
	manager *autocert.Manager
	host    string
	now     func() time.Time

	asking sync.Mutex // held while the authority is asked

	mu    sync.Mutex
	err   error     // why there is no certificate; nil as long as nobody has asked
	tried time.Time // when that was found out
}

// run obtains the certificate, and looks now and then whether there still is one, until ctx ends.
// It does not wait for an answer of the authority then, which may take minutes.
func (o *obtained) run(ctx context.Context) {
	wait := time.NewTimer(obtainAfter)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		answered := make(chan struct{})
		go func() {
			_ = o.obtain() // trouble tells
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

// obtain returns nil when there is a certificate, and why not when the authority gives none. It may
// take minutes.
func (o *obtained) obtain() error {
	o.asking.Lock()
	defer o.asking.Unlock()
	o.mu.Lock()
	last, tried := o.err, o.tried
	o.mu.Unlock()
	if last != nil && time.Since(tried) < autocertForgets {
		return last
	}
	// As a present-day browser asks; autocert would make one with an RSA key for others.
	cert, err := o.manager.GetCertificate(&tls.ClientHelloInfo{
		ServerName: o.host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
	if err == nil {
		err = usable(cert, o.host, o.now())
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

// trouble is why there was no certificate when it was last asked for.
func (o *obtained) trouble() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// ready is obtain for somebody who waits for the answer.
func (o *obtained) ready() error {
	answer := make(chan error, 1)
	go func() { answer <- o.obtain() }()
	select {
	case err := <-answer:
		return err
	case <-time.After(obtainPatience):
		return fmt.Errorf(
			"obtaining a certificate for %s: the authority has not answered yet; try again in a "+
				"minute", o.host)
	}
}

// usable says why clients that connect to host would refuse a certificate at now, as far as that
// does not depend on whom they trust.
func usable(cert *tls.Certificate, host string, now time.Time) error {
	switch {
	case now.After(cert.Leaf.NotAfter):
		return fmt.Errorf("it has expired on %s", cert.Leaf.NotAfter.Format(time.DateOnly))
	case now.Before(cert.Leaf.NotBefore):
		return fmt.Errorf("it is not valid before %s", cert.Leaf.NotBefore.Format(time.DateTime))
	}
	return cert.Leaf.VerifyHostname(host)
}
