package onetime

import (
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

	tokenBytes = 32
	tokenLen   = 43 // of 32 bytes in base64

	// maxTickets bounds what an operator can leave open at once.
	maxTickets = 64
	// Wrong tokens beyond these are told to come back later. A right one is always served:
	// strangers, who all come from one address here, must not be able to shut the client out.
	wrongPerSecond = 1
	wrongBurst     = 20
)

// ErrTooManyLinks is returned when too many links are open already.
var ErrTooManyLinks = fmt.Errorf("%d one-time links are open already; wait until some have ended",
	maxTickets)

var (
	errTooMany = errors.New("too many wrong tokens")
	errUnknown = errors.New("no such token")
)

// Link is a link that was issued.
type Link struct {
	URL     string // for a browser
	Import  string // for the OpenVPN Connect app
	Expires time.Time
	// Fingerprint is the SHA-256 of a certificate that nobody vouches for, in hexadecimal; empty
	// when a public authority or the operator does. With it, browsers warn and OpenVPN Connect
	// refuses Import.
	Fingerprint string
}

// ticket is an open link. Only the hash of its token is kept.
type ticket struct {
	hash    [sha256.Size]byte
	name    string
	content []byte
	expires time.Time
	valid   func() bool
}

// tickets are the open links.
type tickets struct {
	now   func() time.Time
	wrong *rate.Limiter

	mu   sync.Mutex
	open []ticket
}

func newTickets(now func() time.Time) *tickets {
	return &tickets{now: now, wrong: rate.NewLimiter(wrongPerSecond, wrongBurst)}
}

// issue opens a link and returns its token. An earlier link of the same name is closed.
func (t *tickets) issue(name string, content []byte,
	valid func() bool) (token string, expires time.Time, err error) {
	raw := make([]byte, tokenBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", time.Time{}, fmt.Errorf("making a token: %w", err)
	}
	token = base64.RawURLEncoding.EncodeToString(raw)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(func(o ticket) bool { return o.name == name })
	if len(t.open) >= maxTickets {
		return "", time.Time{}, ErrTooManyLinks
	}
	expires = t.now().Add(Life)
	t.open = append(t.open, ticket{sha256.Sum256([]byte(token)), name, slices.Clone(content),
		expires, valid})
	return token, expires, nil
}

// redeem returns the link of a token, and closes it when it is used up. How long it takes does not
// depend on how much of a wrong token is right.
func (t *tickets) redeem(token string, use bool) (ticket, error) {
	hash := sha256.Sum256([]byte(token))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(func(ticket) bool { return false })
	found := -1
	for i := range t.open {
		if subtle.ConstantTimeCompare(hash[:], t.open[i].hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		if !t.wrong.AllowN(t.now(), 1) {
			return ticket{}, errTooMany
		}
		return ticket{}, errUnknown
	}
	hit := t.open[found]
	if use {
		t.open = slices.Delete(t.open, found, found+1)
	}
	return hit, nil
}

// drop removes the links that have ended and those that match. The caller holds mu.
func (t *tickets) drop(match func(ticket) bool) {
	now := t.now()
	t.open = slices.DeleteFunc(t.open, func(o ticket) bool {
		return !now.Before(o.expires) ||
			match(o)
	})
}

// Issue opens a link to a profile for ten minutes and one download. It closes an earlier link of
// the same name. valid is asked at the download: a profile that is not valid any more is not handed
// out. Where an authority has yet to give a certificate, Issue waits for some seconds.
func (s *Server) Issue(name string, profile []byte, valid func() bool) (Link, error) {
	if err := s.certs.ready(); err != nil {
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

// authority is host and port of the links, without the port where it is HTTPS's own.
func (s *Server) authority() string {
	if s.config.Port != 443 {
		return net.JoinHostPort(s.config.Host, strconv.Itoa(int(s.config.Port)))
	}
	if a, err := netip.ParseAddr(s.config.Host); err == nil && a.Is6() {
		return "[" + s.config.Host + "]"
	}
	return s.config.Host
}
