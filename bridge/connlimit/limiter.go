package connlimit

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxSources bounds the sources that a Limiter remembers.
const maxSources = 1024

// Sources bound how often a source may do something, and how often the IPv6 addresses of one /64
// may together. Safe for concurrent use.
type Sources struct {
	one     *Limiter[netip.Addr]
	network *Limiter[netip.Prefix]
}

// NewSources gives a network what so many sources have.
func NewSources(every rate.Limit, burst, sources int, now func() time.Time) Sources {
	return Sources{NewLimiter[netip.Addr](every, burst, now),
		NewLimiter[netip.Prefix](every*rate.Limit(sources), burst*sources, now)}
}

// Take reports whether a source may do it once more, and counts it.
func (l Sources) Take(from netip.Addr) bool {
	return l.one.Take(from) && (!from.Is6() || l.network.Take(networkOf(from)))
}

// Wait returns how long a source has to wait until it may do it once more.
func (l Sources) Wait(from netip.Addr) time.Duration {
	if !from.Is6() {
		return l.one.Wait(from)
	}
	return max(l.one.Wait(from), l.network.Wait(networkOf(from)))
}

// Forgive gives a source all its tokens back, and none to others of its network.
func (l Sources) Forgive(from netip.Addr) { l.one.Forgive(from) }

// Limiter bounds how often each source (or device) may do something. Safe for concurrent use.
type Limiter[K comparable] struct {
	every rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	sources map[K]*rate.Limiter
}

// NewLimiter returns a limiter that gives each source burst tokens, and every a second back.
func NewLimiter[K comparable](every rate.Limit, burst int, now func() time.Time) *Limiter[K] {
	return &Limiter[K]{every: every, burst: burst, now: now, sources: map[K]*rate.Limiter{}}
}

// Take reports whether a source may do it once more, and counts it.
func (l *Limiter[K]) Take(from K) bool {
	return l.of(from).AllowN(l.now(), 1)
}

// Wait returns how long a source has to wait until it may do it once more.
func (l *Limiter[K]) Wait(from K) time.Duration {
	missing := 1 - l.of(from).TokensAt(l.now())
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(l.every) * float64(time.Second))
}

// Forgive gives a source all its tokens back.
func (l *Limiter[K]) Forgive(from K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources, from)
}

func (l *Limiter[K]) of(from K) *rate.Limiter {
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
func (l *Limiter[K]) forget() {
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

// networkOf returns the network whose addresses one host may use all.
func networkOf(from netip.Addr) netip.Prefix {
	return Network(netip.PrefixFrom(from, from.BitLen()))
}
