package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	requestTimeout = 20 * time.Second
	maxAnswer      = 16 << 20 // bytes
	// rateTries is how often a request is sent while the answer is 429.
	rateTries = 6
	// rateWait is the pause when the controller does not say for how long, rateWaitMax the longest.
	rateWait    = time.Second
	rateWaitMax = time.Minute
	// readTries is how often a request that changes nothing is sent while the server fails, with
	// readWait between.
	readTries = 3
	readWait  = 250 * time.Millisecond
)

// requester sends requests to one of Central's APIs. A token goes to no other host: redirects are
// not followed.
type requester struct {
	base, scheme, token string // scheme stands before the token in the Authorization header
	http                http.Client
	waiting             Waiting
}

// Waiting is called before a pause that a controller asks for (429). It may be nil.
type Waiting func(time.Duration)

func newRequester(base, scheme, token string, waiting Waiting) *requester {
	return &requester{base: strings.TrimSuffix(base, "/"), scheme: scheme, token: token,
		waiting: waiting,
		http: http.Client{Timeout: requestTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			}}}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// do sends one request and decodes the answer into out, unless that is nil. It waits and repeats
// when the answer is 429, and, for GET alone, when the server fails or does not answer. It gives up
// where the wait would be longer than rateWaitMax or ctx lasts.
func (r *requester) do(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encoding the body of %s %s: %w", method, path, err)
		}
	}
	for try := 1; ; try++ {
		answer, wait, err := r.once(ctx, method, path, body)
		if err == nil {
			err = decode(answer, out)
		}
		if err == nil {
			return nil
		}
		if !again(method, try, err) || wait > rateWaitMax || lasts(ctx) < wait {
			return fmt.Errorf("asking %s: %s %s: %w", r.base, method, path, err)
		}
		if r.waiting != nil && errors.Is(err, ErrRateLimited) {
			r.waiting(wait)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// lasts returns how long a context lasts at most.
func lasts(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return -1
	}
	if end, limited := ctx.Deadline(); limited {
		return time.Until(end)
	}
	return math.MaxInt64
}

// again reports whether a request that failed is worth another try.
func again(method string, try int, err error) bool {
	if errors.Is(err, ErrRateLimited) {
		return try < rateTries
	}
	api := (*apiError)(nil)
	return method == http.MethodGet && try < readTries && !errors.Is(err, ErrUnexpected) &&
		(errors.Is(err, ErrFailing) || !errors.As(err, &api))
}

// once sends a request. wait is how long to wait before the next try.
func (r *requester) once(ctx context.Context, method, path string,
	body []byte) (answer []byte, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Authorization", r.scheme+" "+r.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := r.http.Do(req)
	if err != nil {
		return nil, readWait, plainly(err)
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, readWait, plainly(err)
	case res.StatusCode/100 == 2 && len(answer) > maxAnswer:
		return nil, 0, fmt.Errorf("%w: more than %d MB", ErrUnexpected, maxAnswer>>20)
	case res.StatusCode/100 == 2:
		return answer, 0, nil
	}
	failure := &apiError{status: res.StatusCode, message: printable(message(answer), r.token)}
	if to, err := res.Location(); err == nil {
		failure.message = printable("it sends on to "+to.Host+", where nothing was sent", r.token)
	}
	wait = pause(res.Header, time.Now())
	if errors.Is(failure, ErrFailing) && res.Header.Get("Retry-After") == "" {
		wait = readWait
	}
	if wait > rateWaitMax {
		failure.message = strings.TrimSpace(failure.message + " (it asks to wait until " +
			time.Now().Add(wait).UTC().Format("2006-01-02 15:04 MST") + ")")
	}
	return nil, wait, failure
}

// plainly returns an error of the connection without the address, which do names itself.
func plainly(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return ErrNoAnswer
	}
	return err
}

// decode reads an answer into out, unless that is nil. An answer is JSON, or empty where nobody
// reads it: what a sign-in page or a proxy says is no answer, whatever its status.
func decode(answer []byte, out any) error {
	if out == nil && len(bytes.TrimSpace(answer)) == 0 {
		return nil
	}
	if out == nil {
		out = new(json.RawMessage)
	}
	err := json.Unmarshal(answer, out)
	mismatch := (*json.UnmarshalTypeError)(nil)
	switch text := bytes.TrimSpace(answer); {
	case err == nil:
		return nil
	case len(text) == 0:
		return fmt.Errorf("%w: it is empty", ErrUnexpected)
	case text[0] == '<':
		return fmt.Errorf("%w: it is a web page", ErrUnexpected)
	case errors.As(err, &mismatch):
		return fmt.Errorf("%w: %q is a %s", ErrUnexpected, mismatch.Field, mismatch.Value)
	}
	return fmt.Errorf("%w: %w", ErrUnexpected, err)
}

// message returns what an answer says in words: `message` with its `details`, or nothing.
func message(answer []byte) string {
	var said struct {
		Message string `json:"message"`
		Details []struct {
			Field   string `json:"field"`
			Message string `json:"message"`
		} `json:"details"`
	}
	if json.Unmarshal(answer, &said) != nil {
		return ""
	}
	for _, d := range said.Details {
		said.Message += "; " + d.Field + ": " + d.Message
	}
	return said.Message
}

// pause returns how long a server asks to wait. It reads Retry-After (seconds or a date), else
// X-Ratelimit-Reset (a date, or seconds since 1970), else uses rateWait. Dates count by the
// server's own clock, where it tells the time: the box's may be wrong.
func pause(h http.Header, now time.Time) time.Duration {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		now = at
	}
	wait := rateWait
	if text := strings.TrimSpace(h.Get("Retry-After")); text != "" {
		if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 {
			wait = seconds(n)
		} else if at, err := http.ParseTime(text); err == nil {
			wait = at.Sub(now)
		}
	} else if text := h.Get("X-Ratelimit-Reset"); text != "" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			wait = seconds(float64(n) - float64(now.Unix()))
		} else if at, err := parseDate(text); err == nil {
			wait = at.Sub(now)
		}
	}
	return max(wait, 50*time.Millisecond)
}

// seconds returns a duration from zero to a century.
func seconds(n float64) time.Duration {
	const century = 100 * 365 * 24 * 3600
	return time.Duration(min(max(n, 0), century) * float64(time.Second))
}

func parseDate(text string) (time.Time, error) {
	at, err := http.ParseTime(text)
	if err != nil {
		at, err = time.Parse(time.RFC3339, text)
	}
	return at, err
}
