package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	ovpn "github.com/mysteriumnetwork/go-openvpn/openvpn/management"
	events "github.com/mysteriumnetwork/go-openvpn/openvpn/middlewares/server"
	"github.com/mysteriumnetwork/go-openvpn/openvpn/middlewares/server/auth"
	"github.com/mysteriumnetwork/go-openvpn/openvpn/middlewares/server/bytecount"

	"ztbridge/bridge/openvpn/management"
)

// countInterval is how often openvpn reports bytes, in seconds.
const countInterval = 2

// Messages that end a session: after HALT a client stays away, after RESTART it comes back at once.
const (
	haltMessage    = "HALT,"
	restartMessage = "RESTART,"
)

// authorizer admits the clients of one openvpn process and records its sessions.
//
// The goroutine that delivers the connection's events only queues them. It must not wait for the
// reply to a command: when a dozen clients connect at once, that reply comes after hundreds of
// lines of the same connection.
type authorizer struct {
	listener Listener
	server   *Server
	conn     *management.Conn
	log      *slog.Logger
	// up is called when openvpn listens.
	up     func()
	events eventQueue
}

// eventQueue holds events of clients, which have shown a valid certificate. It has no limit.
type eventQueue struct {
	mu     sync.Mutex
	events []events.ClientEvent
	filled chan struct{} // capacity one
}

func newEventQueue() eventQueue { return eventQueue{filled: make(chan struct{}, 1)} }

func (q *eventQueue) put(e events.ClientEvent) {
	q.mu.Lock()
	q.events = append(q.events, e)
	q.mu.Unlock()
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

func (q *eventQueue) take() []events.ClientEvent {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.events
	q.events = nil
	return all
}

// run handles events in order until ctx ends.
func (a *authorizer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.events.filled:
		}
		for _, e := range a.events.take() {
			a.event(e)
		}
	}
}

// middlewares returns what reads the events of the connection.
func (a *authorizer) middlewares() []ovpn.Middleware {
	return []ovpn.Middleware{
		&lifecycle{up: a.up},
		dropAddressEvents{auth.NewMiddleware(a.events.put)},
		bytecount.NewMiddleware(func(c bytecount.SessionByteCount) {
			a.server.sessions.count(a.key(c.ClientID), c.BytesIn, c.BytesOut)
		}, countInterval),
	}
}

func (a *authorizer) key(cid int) sessionKey { return sessionKey{a.listener.Name(), cid} }

func (a *authorizer) event(e events.ClientEvent) {
	switch e.EventType {
	case events.Connect, events.Reauth:
		a.authorize(e)
	case events.Established:
		a.established(e.ClientID)
	case events.Disconnect:
		if c, ok := a.server.sessions.ended(a.key(e.ClientID)); ok {
			a.log.Info("client disconnected", "client", c.Name, "remote", c.Remote,
				"after", time.Since(c.Since).Round(
					time.Second), "bytes_in", c.BytesIn, "bytes_out", c.BytesOut)
			a.server.notify()
		}
	}
}

// authorize admits or refuses a client that connects or renews its keys.
func (a *authorizer) authorize(e events.ClientEvent) {
	r := parseRequest(e.Env)
	client, err := a.server.config.Registry.Client(r.name)
	if no := checkAccess(r, client, err, a.server.config.Now()); no != nil {
		log := a.log.With("client", printable(r.name, 60), "remote", r.remote, "reason", no.reason)
		if err != nil && !errors.Is(err, ErrUnknownClient) {
			log = log.With("error", err)
		}
		log.Warn("client refused")
		a.refuse(e, r.name, no)
		return
	}
	networks := a.server.networks()
	lines, addrs, err := clientSettings(client, r, a.listener, a.server.config.DNS, networks)
	if err != nil {
		a.log.Error("client has no address", "client", client.Name, "error", err)
		a.refuse(e, r.name, &denial{"no address", "the server has no address for this profile"})
		return
	}
	if e.EventType == events.Connect {
		a.server.sessions.admitted(a.key(e.ClientID), &session{
			status: ClientStatus{
				Name: client.Name, Listener: a.listener.Name(), Remote: r.remote, Addrs: addrs,
				Program: r.program,
			},
			serial: client.Serial, ender: a, networkOnly: client.NetworkOnly, networks: networks,
		})
	}
	if _, err := a.conn.Block(fmt.Sprintf("client-auth %d %d", e.ClientID, e.ClientKey),
		lines); err != nil {
		a.log.Warn("admitting a client", "client", client.Name, "error", err)
	}
}

// refuse denies access. It ends a session that renews its keys, as the old ones still work a while.
func (a *authorizer) refuse(e events.ClientEvent, name string, no *denial) {
	_, err := a.conn.SingleLineCommand("client-deny %d %d %s %s",
		e.ClientID, e.ClientKey, management.Quote(no.reason), management.Quote(no.public))
	if err == nil && e.EventType == events.Reauth {
		err = a.disconnect(name)
	}
	if err != nil {
		a.log.Warn("refusing a client", "error", err)
	}
}

func (a *authorizer) established(cid int) {
	now, older, ok := a.server.sessions.established(a.key(cid), time.Now())
	if !ok {
		return
	}
	a.log.Info("client connected", "client", now.Name, "remote", now.Remote, "program", now.Program)
	for _, o := range older {
		if o.key.listener == a.listener.Name() {
			continue // openvpn has ended it by itself (no duplicate-cn)
		}
		a.log.Info("ending an older session", "client", o.name, "on", o.key.listener)
		if err := o.ender.disconnect(o.name); err != nil {
			a.log.Warn("ending an older session", "client", o.name, "error", err)
		}
	}
	a.server.notify()
}

// notify implements sessionEnder. OpenVPN itself ends the session five seconds later.
func (a *authorizer) notify(cid int, message string) error {
	_, err := a.conn.SingleLineCommand("client-kill %d %s", cid, management.Quote(message))
	return ignoreGone(err)
}

// disconnect implements sessionEnder.
func (a *authorizer) disconnect(name string) error {
	_, err := a.conn.SingleLineCommand("kill %s", management.Quote(name))
	return ignoreGone(err)
}

// ignoreGone returns nil for an error that says that the session or the process has ended already.
func ignoreGone(err error) error {
	var refused *management.CommandError
	if errors.As(err, &refused) || errors.Is(err, management.ErrClosed) {
		return nil
	}
	return err
}

// lifecycle releases openvpn from hold once events are read, and reports when it listens.
type lifecycle struct {
	up     func()
	writer ovpn.CommandWriter
}

// Start asks for the events. The process waits on hold meanwhile, so none is missed.
func (l *lifecycle) Start(w ovpn.CommandWriter) error {
	l.writer = w
	_, err := w.SingleLineCommand("state on")
	return err
}

// Stop does nothing: the events end with the connection.
func (l *lifecycle) Stop(ovpn.CommandWriter) error { return nil }

// ConsumeLine handles HOLD and STATE.
func (l *lifecycle) ConsumeLine(line string) (bool, error) {
	kind, rest, _ := management.SplitEvent(line)
	switch kind {
	case "HOLD":
		_, err := l.writer.SingleLineCommand("hold release")
		return true, err
	case "STATE":
		state, err := management.ParseState(rest)
		if err == nil && state.Name == "CONNECTED" {
			l.up()
		}
		return true, err
	}
	return false, nil
}

// dropAddressEvents keeps ADDRESS events from go-openvpn's middleware, which would print each.
type dropAddressEvents struct{ ovpn.Middleware }

// ConsumeLine swallows ADDRESS events.
func (m dropAddressEvents) ConsumeLine(line string) (bool, error) {
	if strings.HasPrefix(line, ">CLIENT:ADDRESS,") {
		return true, nil
	}
	return m.Middleware.ConsumeLine(line)
}
