package zerotier

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"
)

// How often the service is asked. What changes at the controller reaches the service within 5 s;
// the interface's own comings and goings the caller learns from the kernel, and says so by Poke.
const (
	pollBusy    = 250 * time.Millisecond // for busyTime after each change
	pollTrouble = time.Second            // while something is not OK
	pollCalm    = 2 * time.Second
	busyTime    = 30 * time.Second
	// peersEvery spares the longest of the answers.
	peersEvery = 2 * time.Second
)

// Config is what a Service needs. It is not changed after New.
type Config struct {
	// Home is the service's home directory, usually /var/lib/zerotier-one.
	Home string
	// Networks are joined and kept joined. Networks that are not listed are left alone.
	Networks []NetworkID
	// AllowGlobal names the networks that may set public addresses and routes on this box.
	AllowGlobal map[NetworkID]bool
	// Moon, when set, makes this node a moon.
	Moon *Moon
	// Orbit lists the moons of others to follow.
	Orbit []Address
	// IDTool makes moons; nil means the zerotier-idtool on the PATH.
	IDTool IDTool
	// Notify is called after Status changed, from the Service's goroutine; it must not block.
	Notify func()
	// Logger receives transitions, never a secret.
	Logger *slog.Logger
}

// Moon describes the moon that this node is to be.
type Moon struct {
	// Endpoints are the public addresses and ports at which this node is reached, stable over
	// years.
	Endpoints []netip.AddrPort
}

// Service keeps zerotier-one as configured and follows its state. Its methods may be called from
// any goroutine.
type Service struct {
	cfg     Config
	poke    chan struct{}
	mu      sync.Mutex
	status  Status
	changed time.Time // of the last change that was notified

	// Below here: of Run's goroutine alone.
	client  *Local
	program func() bool // whether zerotier-one is installed
	ifaces  func() (map[string]int, error)
	members []*member
	conf    *confSync
	moons   *moonSync
	peers   []peerAnswer
	peersAt time.Time
	links   map[string]int
}

// New returns a service that does nothing until Run.
func New(cfg Config) *Service {
	if cfg.Notify == nil {
		cfg.Notify = func() {}
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.IDTool == nil {
		cfg.IDTool = runIDTool
	}
	c := NewLocal(cfg.Home)
	s := &Service{
		cfg: cfg, poke: make(chan struct{}, 1), client: c, program: installed, ifaces: interfaces,
		conf: &confSync{home: cfg.Home, client: c, log: cfg.Logger},
		moons: &moonSync{client: c, maker: moonMaker{cfg.Home, cfg.IDTool}, moon: cfg.Moon,
			orbit: cfg.Orbit, log: cfg.Logger},
	}
	s.status.Service.State = ServiceUnknown
	for _, id := range cfg.Networks {
		s.members = append(s.members,
			&member{id: id, global: cfg.AllowGlobal[id], client: c, log: cfg.Logger})
		s.status.Networks = append(s.status.Networks,
			NetworkStatus{ID: id, Iface: IfaceIn(cfg.Home, id), State: NetworkUnknown})
	}
	return s
}

// Succeed takes over the last status of another Service, which this one is about to replace.
// Networks that both follow keep that status until this one has asked for itself. It must be called
// before Run. What the service of another home said means nothing here.
func (s *Service) Succeed(old *Service) {
	if old.cfg.Home != s.cfg.Home {
		return
	}
	was := old.Status()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range s.status.Networks {
		if j := slices.IndexFunc(was.Networks,
			func(o NetworkStatus) bool { return o.ID == n.ID }); j >= 0 {
			s.status.Networks[i] = was.Networks[j]
		}
	}
	was.Networks = s.status.Networks
	s.status, s.changed = was, time.Now()
}

// Status returns the latest snapshot. It does not block on the service.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.clone()
}

// Poke asks for a look at the service now, for example because an interface came or went. It does
// not block; pokes that come together count once.
func (s *Service) Poke() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Run drives the service until ctx ends, then returns nil. Troubles are reported by Status, never
// returned: what is broken now may work in a minute. Run must be called once.
func (s *Service) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.poke:
		case <-timer.C:
		}
		s.step(ctx)
		timer.Reset(s.interval())
	}
}

// step asks the service once, corrects what is not as configured, and publishes the result.
func (s *Service) step(ctx context.Context) {
	now := time.Now()
	f := s.look(ctx, now)
	for _, m := range s.members {
		m.enforce(ctx, &f, now)
	}
	conf := s.conf.sync(ctx, f.err == nil, now)
	moons, moon := s.moons.sync(ctx, f, now)
	if ctx.Err() != nil {
		return // what failed because we are leaving is no news
	}
	next := s.statusOf(f, now)
	next.Problems = slices.Concat(next.Problems, conf, moons)
	next.Moon = moon
	s.publish(next, now)
}

func (s *Service) look(ctx context.Context, now time.Time) facts {
	f := facts{program: s.program(), networks: map[NetworkID]networkAnswer{}}
	if links, err := s.ifaces(); err == nil {
		s.links = links
	}
	f.links = s.links
	if f.node, f.err = s.client.node(ctx); f.err != nil {
		s.peersAt = time.Time{}
		return f
	}
	list, err := s.client.networks(ctx)
	if err != nil {
		f.err = err
		return f
	}
	for _, n := range list {
		f.networks[n.ID] = n
	}
	if now.Sub(s.peersAt) >= peersEvery {
		if s.peers, f.err = s.client.peers(ctx); f.err != nil {
			return f
		}
		s.peersAt = now
	}
	f.peers = s.peers
	return f
}

func (s *Service) statusOf(f facts, now time.Time) Status {
	st := Status{Service: serviceStatus(f)}
	for _, m := range s.members {
		st.Networks = append(st.Networks,
			networkStatus(m.id, f, IfaceIn(s.cfg.Home, m.id), m.attempt(now)))
	}
	if f.err != nil {
		// The node's address does not change with the service's state, and is what a person needs.
		s.mu.Lock()
		st.NodeAddress = s.status.NodeAddress
		s.mu.Unlock()
		return st
	}
	st.NodeAddress = f.node.Address
	st.Reachable = reachable(f)
	st.Problems = nodeProblems(f, st.Reachable)
	return st
}

// publish makes next the status, dates its states, logs transitions, and notifies if it is news.
func (s *Service) publish(next Status, now time.Time) {
	s.mu.Lock()
	old := s.status
	next.Service.Since = since(old.Service.State == next.Service.State, old.Service.Since, now)
	for i := range next.Networks {
		was := old.Networks[i]
		next.Networks[i].Since = since(was.State == next.Networks[i].State, was.Since, now)
	}
	s.status = next
	news := !reflect.DeepEqual(old, next)
	if news {
		s.changed = now
	}
	s.mu.Unlock()
	if !news {
		return
	}
	s.logTransitions(old, next)
	s.cfg.Notify()
}

func since(same bool, was, now time.Time) time.Time {
	if same && !was.IsZero() {
		return was
	}
	return now
}

func (s *Service) logTransitions(old, next Status) {
	if old.Service.State != next.Service.State {
		s.cfg.Logger.Info("zerotier service", "state", next.Service.State, "was", old.Service.State,
			"cause", next.Service.Cause, "node", next.NodeAddress.String())
	}
	for i, n := range next.Networks {
		was := old.Networks[i]
		if n.State != was.State || n.Cause != was.Cause || n.Index != was.Index {
			s.cfg.Logger.Info("zerotier network", "network", n.ID.String(), "state", n.State, "was",
				was.State,
				"iface", n.Iface, "index", n.Index, "cause", n.Cause)
		}
	}
	for _, c := range next.Problems {
		if !slices.Contains(old.Problems, c) {
			s.cfg.Logger.Warn("zerotier problem", "code", c.Code, "cause", c.Message)
		}
	}
}

func (s *Service) interval() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.changed) < busyTime {
		return pollBusy
	}
	trouble := s.status.Service.State != ServiceOK
	for _, n := range s.status.Networks {
		trouble = trouble || n.State != NetworkOK
	}
	if trouble {
		return pollTrouble
	}
	return pollCalm
}

// installed reports whether a zerotier-one program is on this box. A daemon's PATH often lacks
// sbin.
func installed() bool {
	if _, err := exec.LookPath("zerotier-one"); err == nil {
		return true
	}
	return slices.ContainsFunc([]string{"/usr/sbin", "/usr/local/sbin", "/sbin"},
		func(dir string) bool {
			_, err := os.Stat(filepath.Join(dir, "zerotier-one"))
			return err == nil
		})
}
