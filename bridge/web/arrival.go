package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/sockopt"
)

// arrival is a connection, with how and when it came.
type arrival struct {
	net.Conn
	iface  string
	opened time.Time // or a little before
}

// arrivals notes of each connection that it came by an interface, and when.
type arrivals struct {
	net.Listener
	iface string
}

var errSocket = errors.New("the connection is no socket")

// Accept returns the next connection, an *arrival.
func (l arrivals) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // Listener.Accept adds what was tried
	}
	opened, err := time.Time{}, errSocket
	if socket, ok := conn.(syscall.Conn); ok {
		opened, err = sockopt.Opened(socket)
	}
	if err != nil { // it ended meanwhile; what has no age is vouched for by nothing
		opened = time.Time{}
	}
	return &arrival{conn, l.iface, opened}, nil
}

type arrivalKey struct{}

// withArrival returns a context that knows how a connection came; ctx if that is not known.
func withArrival(ctx context.Context, conn net.Conn) context.Context {
	for {
		switch c := conn.(type) {
		case *arrival:
			return context.WithValue(ctx, arrivalKey{}, c)
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return ctx
		}
	}
}

// senderOf returns whom a request is from, as far as its connection tells.
func senderOf(r *http.Request) (api.Sender, bool) {
	a, ok := r.Context().Value(arrivalKey{}).(*arrival)
	if !ok {
		return api.Sender{}, false
	}
	return api.Sender{Iface: a.iface, Addr: sourceOf(r), Opened: a.opened}, true
}
