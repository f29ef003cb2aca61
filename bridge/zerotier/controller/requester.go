package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
// when the answer is 429, and, for GET alone, when the server fails or does not answer.
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
		if err == nil && out != nil {
			if err = json.Unmarshal(answer, out); err != nil {
				err = fmt.Errorf("the answer is not the expected JSON: %w", err)
			}
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !again(method, try, err) {
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

// again reports whether a request that failed is worth another try.
func again(method string, try int, err error) bool {
	if errors.Is(err, ErrRateLimited) {
		return try < rateTries
	}
	api := (*apiError)(nil)
	answered := errors.As(err, &api)
	return method == http.MethodGet && try < readTries &&
		(!answered || api.status >= http.StatusInternalServerError)
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
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // do names the address itself
		}
		return nil, readWait, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, readWait, err
	}
	if res.StatusCode/100 == 2 {
		return answer, 0, nil
	}
	return nil, pause(res.Header, time.Now()),
		&apiError{res.StatusCode, printable(message(answer), r.token)}
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

// pause returns how long a server asks to wait, at most rateWaitMax. It reads Retry-After (seconds
// or a date), else X-Ratelimit-Reset (a date, or seconds since 1970), else uses rateWait.
func pause(h http.Header, now time.Time) time.Duration {
	wait := rateWait
	if text := h.Get("Retry-After"); text != "" {
		if n, err := strconv.Atoi(text); err == nil {
			wait = time.Duration(n) * time.Second
		} else if at, err := http.ParseTime(text); err == nil {
			wait = at.Sub(now)
		}
	} else if text := h.Get("X-Ratelimit-Reset"); text != "" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			wait = time.Unix(n, 0).Sub(now)
		} else if at, err := parseDate(text); err == nil {
			wait = at.Sub(now)
		}
	}
	return min(max(wait, 50*time.Millisecond), rateWaitMax)
}

func parseDate(text string) (time.Time, error) {
	at, err := http.ParseTime(text)
	if err != nil {
		at, err = time.Parse(time.RFC3339, text)
	}
	return at, err
}
