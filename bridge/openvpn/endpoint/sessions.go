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
	link        killer // of the process that holds it
	// networkOnly clients have routes to networks alone, which are those of the moment of their
	// admission.
	networkOnly bool
	networks    []netip.Prefix
}

// killer ends sessions of one openvpn process.
type killer interface {
	// tell sends a session's client a last message. The session lives on for some seconds.
	tell(cid int, message string) error
	// kill ends all sessions of a client at once, and without a word.
	kill(name string) error
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

// admitted enters a client that was let in.
func (s *sessions) admitted(k sessionKey, n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[k] = n
}

// established marks a session that carries traffic from now on, and returns it and the other
// sessions of the same client: the newest wins.
func (s *sessions) established(k sessionKey,
	now time.Time) (c ClientStatus, older []held, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.open[k]
	if n == nil {
		return ClientStatus{}, nil, false
	}
	n.established, n.status.Since = true, now
	for key, o := range s.open {
		if key != k && o.established && o.status.Name == n.status.Name {
			older = append(older, o.held(key))
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

// gone forgets a session, and reports one that carried traffic.
func (s *sessions) gone(k sessionKey) (ClientStatus, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.open[k]
	delete(s.open, k)
	if n == nil || !n.established {
		return ClientStatus{}, false
	}
	return n.status, true
}

// drop forgets all sessions of a listener whose process has ended.
func (s *sessions) drop(listener string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.open {
		if k.listener == listener {
			delete(s.open, k)
		}
	}
}

// held is a session as it was at one moment.
type held struct {
	key    sessionKey
	name   string
	serial string
	link   killer
}

func (n *session) held(k sessionKey) held { return held{k, n.status.Name, n.serial, n.link} }

// all returns the sessions of this moment.
func (s *sessions) all() []held {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]held, 0, len(s.open))
	for k, n := range s.open {
		out = append(out, n.held(k))
	}
	return out
}

// lacking returns the established sessions that have no route to one of the networks, each once:
// whoever was told to connect anew may take a moment to go.
func (s *sessions) lacking(networks []netip.Prefix) []held {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []held
	for k, n := range s.open {
		isNew := func(p netip.Prefix) bool { return !slices.Contains(n.networks, p) }
		if n.established && n.networkOnly && slices.ContainsFunc(networks, isNew) {
			out = append(out, n.held(k))
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
