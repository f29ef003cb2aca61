package onetime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// serveLink serves the profile of an open link. Only a download of the whole file that was not
// broken off spends the link; a request for its headers, for a part of it or in advance does not.
func (s *Server) serveLink(w http.ResponseWriter, r *http.Request, token string) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	found, err := s.tickets.find(token)
	switch {
	case errors.Is(err, errTooMany):
		header.Set("Retry-After", "30")
		http.Error(w, "Too Many Requests", http.StatusTooManyRequests)
		return
	case errors.Is(err, errUnknown):
		http.NotFound(w, r)
		return
	case err != nil:
		writePage(w, http.StatusGone, endedPage)
		return
	case !found.valid():
		s.log.Warn("one-time link refused: its client is not valid any more", "client", found.name)
		writePage(w, http.StatusGone, endedPage)
		return
	case inAdvance(r.Header):
		// The browser asks again when the person opens the link.
		http.Error(w, "not in advance", http.StatusServiceUnavailable)
		return
	}
	header.Set("Content-Type", "application/x-openvpn-profile")
	header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", found.name+".ovpn"))
	content := bytes.NewReader(found.content)
	if r.Method == http.MethodHead {
		http.ServeContent(w, r, "", time.Time{}, content)
		return
	}
	s.tickets.begin(found)
	d := &delivery{ResponseWriter: w, ctx: r.Context(), delay: s.lastByteDelay}
	http.ServeContent(d, r, "", time.Time{}, content)
	if first, end, ok := d.span(); ok && s.tickets.deliver(found, first, end) {
		s.log.Info("one-time link used", "client", found.name)
	}
}

// inAdvance reports whether a browser asks before a person does, by the headers in use for that.
func inAdvance(h http.Header) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if slices.ContainsFunc(h.Values(name), advanceRE.MatchString) {
			return true
		}
	}
	return false
}

var advanceRE = regexp.MustCompile(`(?i)prefetch|prerender|preview`)

// lastByteDelay is how long the last byte of a download waits for the connection to break. A small
// file fits the buffers of the kernel and of openvpn whole, so a write says nothing of its arrival;
// a client that has broken off has closed the connection, which arrives here a round trip later.
const lastByteDelay = 300 * time.Millisecond

// delivery is the response to a GET that observes whether all of it was sent.
type delivery struct {
	http.ResponseWriter
	ctx    context.Context
	delay  time.Duration // before the last byte
	status int
	size   int // of the body that was announced
	sent   int
	broken bool
}

// WriteHeader records what is announced.
func (d *delivery) WriteHeader(status int) {
	d.status = status
	d.size, _ = strconv.Atoi(d.Header().Get("Content-Length"))
	d.ResponseWriter.WriteHeader(status)
}

// Write sends b, the last byte of the body after delay.
func (d *delivery) Write(b []byte) (int, error) {
	n := 0
	if d.sent+len(b) >= d.size && len(b) > 0 {
		first, err := d.write(b[:len(b)-1])
		if err != nil {
			return first, err
		}
		n, b = first, b[len(b)-1:]
		select {
		case <-d.ctx.Done():
			d.broken = true
		case <-time.After(d.delay):
		}
	}
	// It is sent even then: a client that has only closed its own side reads it.
	m, err := d.write(b)
	return n + m, err
}

func (d *delivery) write(b []byte) (int, error) {
	n, err := d.ResponseWriter.Write(b)
	d.sent += n
	if err == nil {
		err = http.NewResponseController(d.ResponseWriter).Flush()
	}
	if err != nil {
		d.broken = true
		return n, fmt.Errorf("sending a profile: %w", err)
	}
	return n, nil
}

// span returns which bytes of the file have reached the client, as far as can be known; ok is
// false where none have for certain.
func (d *delivery) span() (first, end int, ok bool) {
	if d.broken || d.sent != d.size {
		return 0, 0, false
	}
	switch d.status {
	case http.StatusOK:
		return 0, d.size, true
	case http.StatusPartialContent:
		// Several ranges in one response have no such header; they do not count.
		_, err := fmt.Sscanf(d.Header().Get("Content-Range"), "bytes %d-", &first)
		return first, first + d.size, err == nil
	}
	return 0, 0, false
}

func writePage(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the visitor may have gone
}

const pageHead = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
`

// strangersPage is what a visitor without a token sees.
const strangersPage = pageHead + `<title>It works</title></head>
<body><h1>It works</h1><p>There is nothing here yet.</p></body>
</html>
`

// endedPage is what the visitor of a link that has ended sees. Only who has a token of this server
// sees it, so it may say what the server is for.
const endedPage = pageHead + `<title>This link no longer works</title></head>
<body><h1>This link no longer works</h1>
<p>It worked once, and for ten minutes.</p>
<ul>
<li><b>You have downloaded the file:</b> open your OpenVPN app and import it from your downloads.
It ends in .ovpn.</li>
<li><b>You do not have the file:</b> ask the person who sent you this link for a new one. On the
box: <code>ztbridge client show NAME --qr</code></li>
<li><b>You open this link for the first time, and within ten minutes:</b> somebody else, or the
preview of a chat program, may have used it. Tell the person who sent it to you. To be safe:
<code>ztbridge client revoke NAME</code>, then add the client again.</li>
</ul></body>
</html>
`
