package portal

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

const (
	// askTimeout bounds one request. Where nothing intercepts it, it is often not answered.
	askTimeout = 3 * time.Second
	// every is the pause between two rounds while it is asked at all.
	every = 15 * time.Second
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 16 << 10
	// maxHost is the length of the longest DNS name, in bytes (RFC 1035, 2.3.4).
	maxHost = 253
)

// OwnPage stands for a host where the network leads requests nowhere, and answers them itself.
// Hosts that are there may have pages, too: it counts where they do not answer anything else.
const OwnPage = "itself"

// Config says whom to ask.
type Config struct {
	// Targets are hosts in the Internet, at least two: one of them may well redirect by itself.
	Targets []netip.Addr
	// Dial connects by the box's own line; nil: as the box's routes lead.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Notify func() // called when Page changed; must not block
}

// Checker asks while it is active. Safe for concurrent use.
type Checker struct {
	cfg  Config
	wake chan struct{}

	mu     sync.Mutex
	active bool
	page   string
}

// New returns a checker that is not active.
func New(cfg Config) *Checker { return &Checker{cfg: cfg, wake: make(chan struct{}, 1)} }

// SetActive has it ask from now on, or forget what it found. Idempotent, does not block.
func (c *Checker) SetActive(active bool) {
	c.mu.Lock()
	changed := active != c.active
	c.active = active
	if !active {
		c.page = ""
	}
	c.mu.Unlock()
	if changed {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// Page returns the host that the network leads web requests to, or OwnPage; empty if it leads them
// nowhere, or that is not known.
func (c *Checker) Page() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.page
}

// Run asks until ctx ends, and then returns nil.
func (c *Checker) Run(ctx context.Context) error {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.wake:
		}
		c.mu.Lock()
		active := c.active
		c.mu.Unlock()
		if !active {
			timer.Stop()
			continue
		}
		c.found(c.ask(ctx))
		timer.Reset(every)
	}
}

// found keeps what was found, unless nobody wants to know any more.
func (c *Checker) found(page string) {
	c.mu.Lock()
	changed := c.active && page != c.page
	if changed {
		c.page = page
	}
	c.mu.Unlock()
	if changed {
		c.cfg.Notify()
	}
}

// ask asks all targets at once. It returns the host that all answers lead to, if there are at least
// two of one IP version: hosts of different owners have no page in common.
func (c *Checker) ask(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answers := make([]answer, len(c.cfg.Targets))
	var asking sync.WaitGroup
	for i, target := range c.cfg.Targets {
		asking.Go(func() { answers[i] = c.pageOf(ctx, target) })
	}
	asking.Wait()
	page, count := "", map[bool]int{}
	for i, a := range answers {
		switch {
		case !a.came:
			continue
		case a.page == "" || page != "" && a.page != page:
			return ""
		}
		page = a.page
		count[c.cfg.Targets[i].Is6()]++
	}
	if max(count[false], count[true]) < 2 {
		return ""
	}
	return page
}

// answer is what came from a target, if anything came.
type answer struct {
	came bool
	page string // the host that it leads to; empty if that is the target itself, or nobody
}

// pageOf asks one target for its page.
func (c *Checker) pageOf(ctx context.Context, target netip.Addr) answer {
	client := &http.Client{
		Transport: &http.Transport{DialContext: c.cfg.Dial, DisableKeepAlives: true,
			MaxResponseHeaderBytes: maxHeader},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	defer client.CloseIdleConnections()
	to := url.URL{Scheme: "http", Host: target.String(), Path: "/"}
	if target.Is6() {
		to.Host = "[" + to.Host + "]"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return answer{}
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}
	}
	defer response.Body.Close()
	location, err := response.Location()
	switch response.StatusCode {
	case http.StatusOK, http.StatusNetworkAuthenticationRequired:
		return answer{true, OwnPage}
	}
	if err != nil || location.Hostname() == target.String() ||
		len(location.Hostname()) > maxHost {
		return answer{came: true}
	}
	return answer{true, location.Hostname()}
}
