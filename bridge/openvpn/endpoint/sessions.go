package endpoint

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// session is a client that was admitted, from its admission until openvpn says that it is gone.
type session struct {
	status      ClientStatus
	serial      string // of the certificate that it came with
	established bool
	ender       sessionEnder // of the process that serves it
	// networkOnly clients have routes to networks alone, which are those of the moment of their
	// admission.
	networkOnly bool
	networks    []netip.Prefix
}

// sessionEnder ends sessions of one openvpn process.
type sessionEnder interface {
	// notify sends the client of a session a last message. The session lasts some seconds more.
	notify(cid int, message string) error
	// disconnect ends all sessions of a client at once, without a message.
	disconnect(name string) error
}

// sessionKey names a session: openvpn numbers its clients for each process.
type sessionKey struct {
	listener string
	cid      int
}

// sessions are all sessions of all listeners.
type sessions struct {
	mu   sync.Mutex
	open map[sessionKey]*session
}

func newSessions() *sessions { return &sessions{open: map[sessionKey]*session{}} }

// admitted adds a client that was admitted.
func (s *sessions) admitted(k sessionKey, n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[k] = n
}

// established marks a session that carries traffic from now on. It returns the session and the
// older ones of the same client, which the caller ends: the newest wins.
func (s *sessions) established(k sessionKey,
	now time.Time) (c ClientStatus, older []sessionRef, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.open[k]
	if n == nil {
		return ClientStatus{}, nil, false
	}
	n.established, n.status.Since = true, now
	for key, o := range s.open {
		if key != k && o.established && o.status.Name == n.status.Name {
			older = append(older, o.ref(key))
		}
	}
	return n.status, older, true
}

// count records the bytes of a session.
func (s *sessions) count(k sessionKey, in, out uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.open[k]; n != nil {
		n.status.BytesIn, n.status.BytesOut = in, out
	}
}

// ended removes a session and returns it if it carried traffic.
func (s *sessions) ended(k sessionKey) (ClientStatus, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.open[k]
	delete(s.open, k)
	if n == nil || !n.established {
		return ClientStatus{}, false
	}
	return n.status, true
}

// drop removes all sessions of a listener whose process has ended.
func (s *sessions) drop(listener string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.open {
		if k.listener == listener {
			delete(s.open, k)
		}
	}
}

// sessionRef is a session as it was at one moment.
type sessionRef struct {
	key    sessionKey
	name   string
	serial string
	ender  sessionEnder
}

func (n *session) ref(k sessionKey) sessionRef {
	return sessionRef{k, n.status.Name, n.serial, n.ender}
}

// none reports whether there is no session.
func (s *sessions) none() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open) == 0
}

// all returns the sessions of this moment.
func (s *sessions) all() []sessionRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]sessionRef, 0, len(s.open))
	for k, n := range s.open {
		out = append(out, n.ref(k))
	}
	return out
}

// missingRoutes returns the established sessions that lack a route to one of the networks. It
// returns each once, as a client that was told to reconnect may take a moment.
func (s *sessions) missingRoutes(networks []netip.Prefix) []sessionRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []sessionRef
	for k, n := range s.open {
		isNew := func(p netip.Prefix) bool { return !slices.Contains(n.networks, p) }
		if n.established && n.networkOnly && slices.ContainsFunc(networks, isNew) {
			out = append(out, n.ref(k))
			n.networks = networks
		}
	}
	return out
}

// status returns the established sessions, by name and then by listener.
func (s *sessions) status() []ClientStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ClientStatus
	for _, n := range s.open {
		if n.established {
			out = append(out, n.status)
		}
	}
	slices.SortFunc(out, func(a, b ClientStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Listener, b.Listener))
	})
	return out
}
