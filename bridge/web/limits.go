package web

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"ztbridge/bridge/connlimit"
)

// The limits of one source, and of wrong passwords from everywhere together.
const (
	requestRate      = 20 // a second
	requestBurst     = 120
	wrongBurst       = 5
	wrongEvery       = time.Minute
	allBurst         = 40
	allEvery         = 2 * time.Second
	maxSources       = 1024
	maxStreams       = 32
	maxSourceStreams = 6
	// The IPv6 addresses of one /64, all of which one host may use, have together what so many
	// sources have. That is half of what everybody has, for wrong passwords.
	networkWrong    = 4
	networkRequests = 8
)

// source is where requests come from: an address, without port and zone.
type source = netip.Addr

// sourceLimits bound how often a source may do something, and how often the IPv6 addresses of one
// /64 may together. Safe for concurrent use.
type sourceLimits struct {
	one     *limiter[source]
	network *limiter[netip.Prefix]
}

// newSourceLimits gives a network what so many sources have.
func newSourceLimits(every rate.Limit, burst, sources int, now func() time.Time) sourceLimits {
	return sourceLimits{newLimiter[source](every, burst, now),
		newLimiter[netip.Prefix](every*rate.Limit(sources), burst*sources, now)}
}

// networkOf returns the network whose addresses one host may use all.
func networkOf(from source) netip.Prefix {
	return connlimit.Network(netip.PrefixFrom(from, from.BitLen()))
}

// take reports whether a source may do it once more, and counts it.
func (l sourceLimits) take(from source) bool {
	return l.one.take(from) && (!from.Is6() || l.network.take(networkOf(from)))
}

// wait returns how long a source has to wait until it may do it once more.
func (l sourceLimits) wait(from source) time.Duration {
	if !from.Is6() {
		return l.one.wait(from)
	}
	return max(l.one.wait(from), l.network.wait(networkOf(from)))
}

// forgive gives a source all its tokens back, and none to others of its network.
func (l sourceLimits) forgive(from source) { l.one.forgive(from) }

// limiter bounds how often each source (or device) may do something. Safe for concurrent use.
type limiter[K comparable] struct {
	every rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	sources map[K]*rate.Limiter
}

func newLimiter[K comparable](every rate.Limit, burst int, now func() time.Time) *limiter[K] {
	return &limiter[K]{every: every, burst: burst, now: now, sources: map[K]*rate.Limiter{}}
}

// take reports whether a source may do it once more, and counts it.
func (l *limiter[K]) take(from K) bool {
	return l.of(from).AllowN(l.now(), 1)
}

// wait returns how long a source has to wait until it may do it once more.
func (l *limiter[K]) wait(from K) time.Duration {
	missing := 1 - l.of(from).TokensAt(l.now())
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(l.every) * float64(time.Second))
}

// forgive gives a source all its tokens back.
func (l *limiter[K]) forgive(from K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources, from)
}

func (l *limiter[K]) of(from K) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.sources[from]
	if one == nil {
		if len(l.sources) >= maxSources {
			l.forget()
		}
		one = rate.NewLimiter(l.every, l.burst)
		l.sources[from] = one
	}
	return one
}

// forget drops the sources that have all their tokens, or else the one with the most: it loses
// least. The caller holds mu.
func (l *limiter[K]) forget() {
	now := l.now()
	var fullest K
	most := -1.0
	for from, one := range l.sources {
		tokens := one.TokensAt(now)
		if tokens >= float64(l.burst) {
			delete(l.sources, from)
		} else if tokens > most {
			fullest, most = from, tokens
		}
	}
	if len(l.sources) >= maxSources {
		delete(l.sources, fullest)
	}
}

// streams counts the open streams of events. Safe for concurrent use.
type streams struct {
	mu  sync.Mutex
	of  map[source]int
	all int
}

// open reports whether a source may have one more; if so the caller must call close.
func (s *streams) open(from source) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	network := 0
	for other, n := range s.of {
		if networkOf(other) == networkOf(from) {
			network += n
		}
	}
	if s.all >= maxStreams || s.of[from] >= maxSourceStreams || network >= maxStreams/2 {
		return false
	}
	s.all++
	s.of[from]++
	return true
}

func (s *streams) close(from source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[from]--; s.of[from] == 0 {
		delete(s.of, from)
	}
}
