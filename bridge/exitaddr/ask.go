package exitaddr

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

const (
	// askTimeout bounds one question to one service, names, connection and answer included.
	askTimeout = 10 * time.Second
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 16 << 10
)

var (
	errUnasked  = errors.New("the service cannot be asked this way")
	errUnlikely = errors.New("the answer is no public address of this IP version")
)

// ask asks one service through a path.
func (a *Asker) ask(ctx context.Context, p Path, service string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	u, err := url.Parse(service)
	if err != nil {
		return Answer{}, fmt.Errorf("reading the service's URL: %w", err)
	}
	if literal, err := netip.ParseAddr(u.Hostname()); err == nil && literal.Is6() != p.IPv6 ||
		err != nil && !p.Resolves() {
		return Answer{}, errUnasked
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return p.Dial(ctx, address)
		},
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.cfg.Roots},
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
	}
	client := &http.Client{Transport: transport,
		// Who is asked is the configuration's to say.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, service, nil)
	if err != nil {
		return Answer{}, fmt.Errorf("making the request: %w", err)
	}
	request.Header.Set("User-Agent", "curl") // services answer browsers with pages
	response, err := client.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("asking: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Answer{}, fmt.Errorf("asking %s: status %d", u.Hostname(), response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer of %s: %w", u.Hostname(), err)
	}
	addr, country, err := parse(body)
	if err == nil && (addr.Is6() != p.IPv6 || !public(addr)) {
		err = errUnlikely
	}
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer of %s: %w", u.Hostname(), err)
	}
	return Answer{Addr: addr, Country: country, Service: u.Hostname(), At: time.Now()}, nil
}
