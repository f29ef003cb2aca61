package notify

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"

	"ztbridge/bridge/pathdial"
)

// Dial connects to host:port by the path that a message is to leave by.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Sender delivers messages to one place. Its errors hold no secret.
type Sender interface {
	Send(ctx context.Context, dial Dial, m Message) error
}

// Refusal is what the other side said instead of taking a message.
type Refusal struct {
	Text   string
	Remedy string
	// RetryAfter is how long it wants to be left alone; 0: it did not say.
	RetryAfter time.Duration
}

func (r *Refusal) Error() string { return r.Text }

// ErrPathDown is returned where a message has no path now.
var ErrPathDown = errors.New("there is no such path now")

const (
	// maxFault bounds what is told of an error, which may quote a stranger.
	maxFault = 200
	redacted = "(redacted)"
)

// hide returns an error without secrets and without what a terminal would obey. Errors of net/http
// quote the URL, in which Telegram's token and the key of a webhook stand.
func hide(err error, secrets ...string) error {
	if of, ok := errors.AsType[*url.Error](err); ok {
		err = of.Err
	}
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		copied := *refusal
		copied.Text = hideIn(copied.Text, secrets)
		return &copied
	}
	if errors.Is(err, ErrPathDown) || errors.Is(err, pathdial.ErrNoResolver) {
		return err // our own words
	}
	return errors.New(hideIn(err.Error(), secrets))
}

func hideIn(text string, secrets []string) string {
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			if form != "" {
				text = strings.ReplaceAll(text, form, redacted)
			}
		}
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return cut(text, maxFault)
}

// cut shortens a text to so many bytes, at the border of a rune.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const end = "…"
	for most -= len(end); most > 0 && text[most]&0xC0 == 0x80; most-- {
	}
	return text[:most] + end
}

// dialBy returns what connects by one path, which may have one part for each IP version. Programs
// on this box, named by a loopback address, need no path.
func dialBy(paths []pathdial.Path) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		literal, err := netip.ParseAddr(host)
		if err == nil && literal.IsLoopback() {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		failed := ErrPathDown
		for _, p := range paths {
			if err == nil && literal.Is6() != p.IPv6 {
				continue
			}
			conn, err := p.Dial(ctx, address)
			if err == nil {
				return conn, nil
			}
			failed = err
		}
		return nil, failed
	}
}
