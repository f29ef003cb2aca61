package web

import (
	"net/netip"
	"sync"
	"time"

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
	maxStreams       = 32
	maxSourceStreams = 6
	// The IPv6 addresses of one /64, all of which one host may use, have together what so many
	// sources have. That is half of what everybody has, for wrong passwords.
	networkWrong    = 4
	networkRequests = 8
)

// source is where requests come from: an address, without port and zone.
type source = netip.Addr

// networkOf returns the network whose addresses one host may use all.
func networkOf(from source) netip.Prefix {
	return connlimit.Network(netip.PrefixFrom(from, from.BitLen()))
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
