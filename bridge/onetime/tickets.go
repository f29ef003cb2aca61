package onetime

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// Life is how long a link can be used.
	Life = 10 * time.Minute
	// Grace is how long a link can be used again after its file was delivered, or a download began:
	// some browsers ask twice for one download, and connections break.
	Grace = time.Minute

	// A token is random bytes and their MAC, by which the server recognises its links even when it
	// has forgotten them.
	tokenRandom = 16
	tokenMAC    = 16
	tokenLen    = 43 // of both in base64

	// maxTickets bounds the links that an operator can leave open at once.
	maxTickets = 64
	// Wrong tokens beyond these get 429. A right one is always served: strangers, who all come from
	// one address here, must not be able to lock the client out.
	wrongPerSecond = 1
	wrongBurst     = 20
)

// ErrTooManyLinks is returned when too many links are open already.
var ErrTooManyLinks = fmt.Errorf("%d one-time links are open already; wait until some have ended",
	maxTickets)

var (
	errTooMany = errors.New("too many wrong tokens")
	errUnknown = errors.New("not a token of this server")
	errEnded   = errors.New("the link has ended")
)

// Link is a link that was issued.
type Link struct {
	URL     string // for a browser
	Import  string // for the OpenVPN Connect app
	Expires time.Time
	// Fingerprint is the SHA-256 of a self-signed certificate in hexadecimal, or empty when a
	// public authority or the operator vouches for it. With it, browsers warn and OpenVPN Connect
	// refuses Import.
	Fingerprint string
}

// ticket is an open link. Only the hash of its token is kept.
//
//	open ──download begins──▶ open, for Grace at least ──whole file delivered──▶ delivered
//	  └──Life is over──▶ ended ◀──Grace is over───────────────────────────────────┘
type ticket struct {
	hash    [sha256.Size]byte
	name    string
	content []byte
	valid   func() bool
	ends    time.Time
	// received is how many bytes were delivered, counted from the first one without a gap.
	received  int
	delivered bool
}

// tickets holds the open links.
type tickets struct {
	now   func() time.Time
	key   []byte // of the MAC
	wrong *rate.Limiter

	mu   sync.Mutex
	open []*ticket
}

func newTickets(key []byte, now func() time.Time) *tickets {
	return &tickets{now: now, key: key, wrong: rate.NewLimiter(wrongPerSecond, wrongBurst)}
}

func (t *tickets) mac(random []byte) []byte {
	h := hmac.New(sha256.New, t.key)
	_, _ = h.Write(random) // a hash never fails to write
	return h.Sum(nil)[:tokenMAC]
}

// genuine reports whether this server has issued the token, before a restart too.
func (t *tickets) genuine(token string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	return err == nil && len(raw) == tokenRandom+tokenMAC &&
		hmac.Equal(raw[tokenRandom:], t.mac(raw[:tokenRandom]))
}

// issue opens a link and returns its token. It closes an earlier link of the same name.
func (t *tickets) issue(name string, content []byte,
	valid func() bool) (token string, expires time.Time, err error) {
	raw := make([]byte, tokenRandom)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	token = base64.RawURLEncoding.EncodeToString(append(raw, t.mac(raw)...))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(func(o *ticket) bool { return o.name == name })
	if len(t.open) >= maxTickets {
		return "", time.Time{}, ErrTooManyLinks
	}
	expires = t.now().Add(Life)
	t.open = append(t.open, &ticket{hash: sha256.Sum256([]byte(token)), name: name,
		content: slices.Clone(content), valid: valid, ends: expires})
	return token, expires, nil
}

// find returns the open link of a token. Its error is errEnded for a link that has ended,
// errUnknown for a token that is none of this server's, or errTooMany. The time that it takes does
// not depend on how much of a wrong token is right.
func (t *tickets) find(token string) (*ticket, error) {
	hash := sha256.Sum256([]byte(token))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(func(*ticket) bool { return false })
	var found *ticket
	for _, o := range t.open {
		if subtle.ConstantTimeCompare(hash[:], o.hash[:]) == 1 {
			found = o
		}
	}
	switch {
	case found != nil:
		return found, nil
	case t.genuine(token):
		return nil, errEnded
	case !t.wrong.AllowN(t.now(), 1):
		return nil, errTooMany
	}
	return nil, errUnknown
}

// begin records that a download begins: the link lasts for Grace at least, should it break.
func (t *tickets) begin(o *ticket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if again := t.now().Add(Grace); !o.delivered && again.After(o.ends) {
		o.ends = again
	}
}

// deliver records that the bytes from first to end (exclusive) have reached the client. It reports
// whether the file is now delivered for the first time, which ends the link after Grace.
func (t *tickets) deliver(o *ticket, first, end int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if first <= o.received {
		o.received = max(o.received, end)
	}
	if o.delivered || o.received < len(o.content) {
		return false
	}
	o.delivered, o.ends = true, t.now().Add(Grace)
	return true
}

// drop removes the links that have ended and those that match. The caller holds mu.
func (t *tickets) drop(match func(*ticket) bool) {
	now := t.now()
	t.open = slices.DeleteFunc(t.open,
		func(o *ticket) bool { return !now.Before(o.ends) || match(o) })
}

// Issue opens a link to a profile for ten minutes and one download. It closes an earlier link of
// the same name. valid is asked at each download: a profile that is not valid any more is not
// handed out. Where an authority has not given a certificate yet, Issue blocks for some seconds.
func (s *Server) Issue(name string, profile []byte, valid func() bool) (Link, error) {
	if err := s.certs.obtain(); err != nil {
		return Link{}, fmt.Errorf("issuing a one-time link for %s: %w", name, err)
	}
	token, expires, err := s.tickets.issue(name, profile, valid)
	if err != nil {
		return Link{}, fmt.Errorf("issuing a one-time link for %s: %w", name, err)
	}
	url := "https://" + s.authority() + "/" + token
	return Link{
		URL: url, Import: "openvpn://import-profile/" + url,
		Expires: expires, Fingerprint: s.certs.fingerprint,
	}, nil
}

// authority returns host and port of the links, without the port where it is HTTPS's own.
func (s *Server) authority() string {
	if s.config.Port != 443 {
		return net.JoinHostPort(s.config.Host, strconv.Itoa(int(s.config.Port)))
	}
	if a, err := netip.ParseAddr(s.config.Host); err == nil && a.Is6() {
		return "[" + s.config.Host + "]"
	}
	return s.config.Host
}
