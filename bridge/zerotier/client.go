package zerotier

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
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Errors of the local API, for errors.Is.
var (
	// ErrNotRunning: no service listens.
	ErrNotRunning = errors.New("zerotier-one is not running")
	// ErrNoToken: the API token is missing or unreadable.
	ErrNoToken = errors.New("no API token")
	// ErrRefused: the service does not take the token.
	ErrRefused = errors.New("zerotier-one refused the API token")
	// ErrUnexpected: the answer is not one that zerotier-one gives.
	ErrUnexpected = errors.New("unexpected answer from zerotier-one")
	// ErrNotFound: HTTP 404, for example for a network that is not joined.
	ErrNotFound = errors.New("not found")
)

const (
	requestTimeout = 2 * time.Second
	// changeTimeout is that of requests that change something: to set routes can take seconds.
	changeTimeout = 6 * time.Second
	// maxAnswer bounds an answer in bytes: /peer takes about 1 kB for each of maybe thousands of
	// peers.
	maxAnswer = 8 << 20
)

// Local speaks the local API of the zerotier-one with a home directory. Its methods may be called
// from any goroutine and block for at most changeTimeout. It holds no connection between requests:
// an idle one delays the service's exit by 5 s.
type Local struct {
	home string
	http http.Client
}

// NewLocal returns a Local. It reads port and token at each request, not here.
func NewLocal(home string) *Local {
	return &Local{home: home, http: http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil,
			MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the token goes nowhere else
		},
	}}
}

// Node returns the node's own address and the version of zerotier-one.
func (c *Local) Node(ctx context.Context) (self Address, version string, err error) {
	a, err := c.node(ctx)
	return a.Address, a.Version, err
}

// Membership returns the box's membership in a network as the service reports it, without Since,
// Cause and Remedy. It fails with ErrNotFound for a network that is not joined.
func (c *Local) Membership(ctx context.Context, id NetworkID) (NetworkStatus, error) {
	a, err := get[networkAnswer](ctx, c, "/network/"+id.String())
	if err != nil {
		return NetworkStatus{}, err
	}
	st := NetworkStatus{ID: id, Iface: id.Iface()}
	st.fill(a)
	return st, nil
}

func (c *Local) node(ctx context.Context) (nodeAnswer, error) {
	var a nodeAnswer
	if err := c.Do(ctx, http.MethodGet, "/status", nil, &a); err != nil {
		return a, err
	}
	if a.Address == 0 || a.Clock <= 0 {
		return a, fmt.Errorf("asking GET /status: %w: no address or no clock", ErrUnexpected)
	}
	return a, nil
}

func (c *Local) networks(ctx context.Context) ([]networkAnswer, error) {
	return get[[]networkAnswer](ctx, c, "/network")
}

func (c *Local) peers(ctx context.Context) ([]peerAnswer, error) {
	return get[[]peerAnswer](ctx, c, "/peer")
}

func (c *Local) moons(ctx context.Context) ([]moonAnswer, error) {
	return get[[]moonAnswer](ctx, c, "/moon")
}

func (c *Local) config(ctx context.Context) (configAnswer, error) {
	return get[configAnswer](ctx, c, "/config")
}

// get asks for a value.
func get[T any](ctx context.Context, c *Local, path string) (answer T, err error) {
	err = c.Do(ctx, http.MethodGet, path, nil, &answer)
	return answer, err
}

// join joins a network, or changes its settings if it is joined. The settings keep the service from
// changing the host's routes and resolvers. Booleans must be real ones: anything else is silently
// ignored. The answer is the membership as it is afterwards; its ID is zero when the service could
// not make the network's device.
func (c *Local) join(ctx context.Context, id NetworkID, global bool) (networkAnswer, error) {
	var a networkAnswer
	err := c.Do(ctx, http.MethodPost, "/network/"+id.String(),
		map[string]bool{"allowDefault": false, "allowGlobal": global, "allowDNS": false}, &a)
	return a, err
}

// leave leaves a network. Leaving one that is not joined is no error.
func (c *Local) leave(ctx context.Context, id NetworkID) error {
	return c.Do(ctx, http.MethodDelete, "/network/"+id.String(), nil, nil)
}

// orbit makes the node follow a moon, whose id is also the address of the root to ask for it.
func (c *Local) orbit(ctx context.Context, id Address) error {
	return c.Do(ctx, http.MethodPost, "/moon/"+id.String(), map[string]string{"seed": id.String()},
		nil)
}

func (c *Local) deorbit(ctx context.Context, id Address) error {
	return c.Do(ctx, http.MethodDelete, "/moon/"+id.String(), nil, nil)
}

// Do sends one request and decodes the answer into out, unless that is nil. in is its JSON body,
// unless that is nil. It fails with ErrNotRunning, ErrNoToken, ErrRefused, ErrNotFound or
// ErrUnexpected.
func (c *Local) Do(ctx context.Context, method, path string, in, out any) error {
	body, err := c.roundTrip(ctx, method, path, in)
	if err == nil && out != nil {
		err = decode(body, out)
	}
	if err != nil {
		return fmt.Errorf("asking %s %s: %w", method, path, err)
	}
	return nil
}

func (c *Local) roundTrip(ctx context.Context, method, path string, in any) ([]byte, error) {
	timeout := requestTimeout
	if method != http.MethodGet {
		timeout = changeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := c.request(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: %w", ErrNotRunning, syscall.ECONNREFUSED)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		// Without the ephemeral port, so that the same trouble reads the same each time.
		return nil, fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		return nil, ErrRefused
	case res.StatusCode == http.StatusNotFound:
		return nil, ErrNotFound
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: HTTP %d", ErrUnexpected, res.StatusCode)
	case err != nil:
		return nil, err
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrUnexpected, maxAnswer)
	}
	return body, nil
}

// request reads port and token again. The port may differ after each start of the service, and the
// token after a reinstallation.
func (c *Local) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	port, err := c.port()
	if err != nil {
		return nil, err
	}
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	}
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))) + path
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-ZT1-Auth", token)
	return req, nil
}

func (c *Local) port() (uint16, error) {
	raw, err := os.ReadFile(filepath.Join(c.home, "zerotier-one.port"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%w: zerotier-one.port holds no port number", ErrUnexpected)
	}
	return uint16(port), nil
}

func (c *Local) token() (string, error) {
	raw, err := os.ReadFile(filepath.Join(c.home, "authtoken.secret"))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoToken, err)
	}
	token := strings.TrimSpace(string(raw))
	// The token is a header's value: reject what could not be one, without showing it.
	if token == "" || strings.ContainsFunc(token, func(r rune) bool {
		return r <= ' ' || r > '~'
	}) {
		return "", fmt.Errorf("%w: authtoken.secret holds none", ErrNoToken)
	}
	return token, nil
}
