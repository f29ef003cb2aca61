package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// ErrNotRunning reports that no daemon answers on the socket.
var ErrNotRunning = errors.New("ztbridge is not running")

// Timeout bounds every request but Watch and NotifyTest. A reload that has to wait for the
// reconcile ends well within it.
const Timeout = 30 * time.Second

// Conn speaks to the daemon.
type Conn struct {
	path string
	http *http.Client
}

// Dial returns a client of the socket at path, which need not exist yet: each request makes a
// connection of its own and finds out.
func Dial(path string) *Conn {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &Conn{path, &http.Client{Transport: &http.Transport{DialContext: dial,
		DisableKeepAlives: true}}}
}

// Status asks for the snapshot.
func (c *Conn) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Explain asks what happens to packets of an address.
func (c *Conn) Explain(ctx context.Context, addr netip.Addr) (Explanation, error) {
	var e Explanation
	return e, c.call(ctx, http.MethodGet, "/v1/status?of="+url.QueryEscape(addr.String()), nil, &e)
}

// Plan asks what a reconcile would change now.
func (c *Conn) Plan(ctx context.Context) (string, error) {
	var p planAnswer
	err := c.call(ctx, http.MethodGet, "/v1/plan", nil, &p)
	return p.Plan, err
}

// Use chooses an egress.
func (c *Conn) Use(ctx context.Context, egress string) error {
	return c.call(ctx, http.MethodPost, "/v1/egress/use", useRequest{egress}, nil)
}

// Reset forgets the choice.
func (c *Conn) Reset(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/egress/reset", nil, nil)
}

// Reload makes the daemon read its configuration again.
func (c *Conn) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reload", nil, nil)
}

// ForgetReload ends what the status tells of a reload that was refused.
func (c *Conn) ForgetReload(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/reload", nil, nil)
}

// Watch calls show with the status now and after each change, until ctx ends (nil), show fails, or
// the daemon ends (ErrNotRunning).
func (c *Conn) Watch(ctx context.Context, show func(Status) error) error {
	response, err := c.send(ctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	for {
		var s Status
		switch err := decoder.Decode(&s); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			errors.Is(err, syscall.ECONNRESET):
			return c.notRunning(errors.New("the daemon ended"))
		case err != nil:
			return fmt.Errorf("reading the status: %w", err)
		}
		if err := show(s); err != nil {
			return err
		}
	}
}

func (c *Conn) call(ctx context.Context, method, path string, body, into any) error {
	return c.callWithin(ctx, Timeout, method, path, body, into)
}

func (c *Conn) callWithin(ctx context.Context, timeout time.Duration, method, path string, body,
	into any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, response.Body)
	} else {
		err = json.NewDecoder(response.Body).Decode(into)
	}
	if err != nil {
		return &HintedError{fmt.Errorf("reading the daemon's answer to %s: %w", path, err),
			versionsHint}
	}
	return nil
}

const versionsHint = "the daemon may be of another version: restart it (`systemctl restart " +
	"ztbridge`)"

// send returns an answer with status 200; its body has to be closed.
func (c *Conn) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing the request %s: %w", path, err)
		}
		payload = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://ztbridge"+path, payload)
	if err != nil {
		return nil, fmt.Errorf("making the request %s: %w", path, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	return nil, refused(response, path)
}

func (c *Conn) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return c.notRunning(err)
	case errors.Is(err, fs.ErrPermission):
		return &HintedError{
			Err:  fmt.Errorf("opening %s: %w", c.path, fs.ErrPermission),
			Hint: "run it as root, or join the group " + Group,
		}
	default:
		return fmt.Errorf("asking the daemon: %w", err)
	}
}

func (c *Conn) notRunning(cause error) error {
	return &HintedError{
		Err: fmt.Errorf("%w: nobody answers on %s (%w)", ErrNotRunning, c.path, root(cause)),
		Hint: "start it by `systemctl start ztbridge`, or see why it ended: `journalctl -u " +
			"ztbridge`",
	}
}

// root unwraps the layers of net and http that repeat the path.
func root(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

func refused(response *http.Response, path string) error {
	var r refusal
	if err := json.NewDecoder(io.LimitReader(response.Body, maxBody)).Decode(&r); err != nil ||
		r.Error == "" {
		return &HintedError{fmt.Errorf("the daemon does not know the request %s (%s)", path,
			response.Status), versionsHint}
	}
	err := errors.New(r.Error)
	if response.StatusCode == http.StatusNotFound {
		err = &notFound{r.Error}
	}
	return &HintedError{err, r.Hint}
}

// notFound carries the daemon's own words and is ErrNotFound.
type notFound struct{ text string }

func (e *notFound) Error() string        { return e.text }
func (e *notFound) Is(target error) bool { return target == ErrNotFound }
