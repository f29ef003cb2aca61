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

// door admits the clients of one openvpn process and keeps its sessions up to date.
//
// The goroutine that delivers the connection's events only puts them into the inbox. It must not
// wait for the reply to a command: a dozen clients that connect at once are hundreds of lines,
// behind which the reply would stand in the connection's own queue.
type door struct {
	listener Listener
	server   *Server
	conn     *management.Conn
	log      *slog.Logger
	// up is called when openvpn listens.
	up    func()
	inbox inbox
}

// inbox is a queue without an end: what is in it was authenticated by a certificate.
type inbox struct {
	mu     sync.Mutex
	events []events.ClientEvent
	bell   chan struct{} // capacity one
}

func newInbox() inbox { return inbox{bell: make(chan struct{}, 1)} }

func (i *inbox) put(e events.ClientEvent) {
	i.mu.Lock()
	i.events = append(i.events, e)
	i.mu.Unlock()
	select {
	case i.bell <- struct{}{}:
	default:
	}
}

func (i *inbox) take() []events.ClientEvent {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := i.events
	i.events = nil
	return all
}

// run answers events, in order, until ctx ends.
func (d *door) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.inbox.bell:
		}
		for _, e := range d.inbox.take() {
			d.event(e)
		}
	}
}

// middlewares are what the connection is served with.
func (d *door) middlewares() []ovpn.Middleware {
	return []ovpn.Middleware{
		&lifecycle{up: d.up},
		withoutAddresses{auth.NewMiddleware(d.inbox.put)},
		bytecount.NewMiddleware(func(c bytecount.SessionByteCount) {
			d.server.sessions.count(d.key(c.ClientID), c.BytesIn, c.BytesOut)
		}, countInterval),
	}
}

func (d *door) key(cid int) sessionKey { return sessionKey{d.listener.Name(), cid} }

func (d *door) event(e events.ClientEvent) {
	switch e.EventType {
	case events.Connect, events.Reauth:
		d.knock(e)
	case events.Established:
		d.established(e.ClientID)
	case events.Disconnect:
		if c, ok := d.server.sessions.gone(d.key(e.ClientID)); ok {
			d.log.Info("client disconnected", "client", c.Name, "remote", c.Remote,
				"after", time.Since(c.Since).Round(
					time.Second), "bytes_in", c.BytesIn, "bytes_out", c.BytesOut)
			d.server.notify()
		}
	}
}

// knock answers a client that connects, or renews its keys.
func (d *door) knock(e events.ClientEvent) {
	r := parseRequest(e.Env)
	client, err := d.server.config.Registry.Client(r.name)
	if no := admit(r, client, err, d.server.config.Now()); no != nil {
		log := d.log.With("client", printable(r.name, 60), "remote", r.remote, "reason", no.reason)
		if err != nil && !errors.Is(err, ErrUnknownClient) {
			log = log.With("error", err)
		}
		log.Warn("client refused")
		d.refuse(e, r.name, no)
		return
	}
	networks := d.server.networks()
	lines, addrs, err := answer(client, r, d.listener, d.server.config.DNS, networks)
	if err != nil {
		d.log.Error("client has no address", "client", client.Name, "error", err)
		d.refuse(e, r.name, &denial{"no address", "the server has no address for this profile"})
		return
	}
	if e.EventType == events.Connect {
		d.server.sessions.admitted(d.key(e.ClientID), &session{
			status: ClientStatus{
				Name: client.Name, Listener: d.listener.Name(), Remote: r.remote, Addrs: addrs,
				Program: r.program,
			},
			serial: client.Serial, link: d, networkOnly: client.NetworkOnly, networks: networks,
		})
	}
	if _, err := d.conn.Block(fmt.Sprintf("client-auth %d %d", e.ClientID, e.ClientKey),
		lines); err != nil {
		d.log.Warn("admitting a client", "client", client.Name, "error", err)
	}
}

// refuse turns a client away. One that renews its keys would live on for a while with the old ones.
func (d *door) refuse(e events.ClientEvent, name string, no *denial) {
	_, err := d.conn.SingleLineCommand("client-deny %d %d %s %s",
		e.ClientID, e.ClientKey, management.Quote(no.reason), management.Quote(no.public))
	if err == nil && e.EventType == events.Reauth {
		err = d.kill(name)
	}
	if err != nil {
		d.log.Warn("refusing a client", "error", err)
	}
}

func (d *door) established(cid int) {
	now, older, ok := d.server.sessions.established(d.key(cid), time.Now())
	if !ok {
		return
	}
	d.log.Info("client connected", "client", now.Name, "remote", now.Remote, "program", now.Program)
	for _, o := range older {
		if o.key.listener == d.listener.Name() {
			continue // openvpn has ended it by itself (no duplicate-cn)
		}
		d.log.Info("ending an older session", "client", o.name, "on", o.key.listener)
		if err := o.link.kill(o.name); err != nil {
			d.log.Warn("ending an older session", "client", o.name, "error", err)
		}
	}
	d.server.notify()
}

// tell implements killer. OpenVPN ends the session itself, five seconds later.
func (d *door) tell(cid int, message string) error {
	_, err := d.conn.SingleLineCommand("client-kill %d %s", cid, management.Quote(message))
	return ended(err)
}

// kill implements killer.
func (d *door) kill(name string) error {
	_, err := d.conn.SingleLineCommand("kill %s", management.Quote(name))
	return ended(err)
}

// ended takes it for success that a session, or the process, is gone already.
func ended(err error) error {
	var refused *management.CommandError
	if errors.As(err, &refused) || errors.Is(err, management.ErrClosed) {
		return nil
	}
	return err
}

// lifecycle lets openvpn begin once everything is set up, and tells when it listens.
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

// withoutAddresses keeps ADDRESS events from go-openvpn's middleware, which would print each.
type withoutAddresses struct{ ovpn.Middleware }

// ConsumeLine swallows ADDRESS events.
func (m withoutAddresses) ConsumeLine(line string) (bool, error) {
	if strings.HasPrefix(line, ">CLIENT:ADDRESS,") {
		return true, nil
	}
	return m.Middleware.ConsumeLine(line)
}
