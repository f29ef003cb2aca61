package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"
)

// DeviceBackend is what a Backend offers besides: an exit of its own for each device.
type DeviceBackend interface {
	// UseFor makes an exit the choice of one device, now and after a restart; an empty exit forgets
	// the choice. It is idempotent. ErrNotFound: there is no such device, or its rule does not
	// offer that exit.
	UseFor(ctx context.Context, r DeviceRequest) (Identity, error)
	// Identify returns which device a connection to this box is from. An address alone proves
	// nothing: a member is known by the hardware address that its ZeroTier address gives it, and
	// the address must be nobody else's. It fails with ErrUnvouched where nothing vouches for the
	// sender, and with ErrAskAgain where only a new connection can be vouched for: close this one.
	Identify(ctx context.Context, from Sender) (Identity, error)
	// UseOwn is UseFor for the device that a connection is from. It fails as Identify does.
	UseOwn(ctx context.Context, from Sender, egress string) (Identity, error)
}

// Sender is whom a connection to this box is from, as far as the connection tells.
type Sender struct {
	Iface  string     // by which it entered
	Addr   netip.Addr // its source address
	Opened time.Time  // or a little before
}

// ErrUnvouched refuses a sender whose address may be another device's.
var ErrUnvouched = errors.New("nothing vouches for who this is")

// ErrAskAgain asks for another connection: from now on only its owner can send from that address.
var ErrAskAgain = errors.New("this connection is older than what vouches for its sender")

// DeviceRequest names a device and an exit for it.
type DeviceRequest struct {
	// Device is an IP address behind an ingress, a member's ZeroTier address, the name of a client
	// of the endpoint, or a name under which the device has chosen before.
	Device string `json:"device"`
	Egress string `json:"egress,omitempty"` // empty: forget the choice
	Name   string `json:"name,omitempty"`   // how people call a member
	// Addresses are those that the network's controller gave the member; empty: not known.
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// Identity is a device as the box knows it.
type Identity struct {
	Kind    string   `json:"kind"` // "member", "client", "address"
	ID      string   `json:"id"`   // ZeroTier address, client's name, or IP address
	Network string   `json:"network,omitempty"`
	Name    string   `json:"name"`   // for people; the ID where there is none
	Offers  []string `json:"offers"` // the exits that it may choose from; empty: it may not choose
	Choice  string   `json:"choice,omitempty"`
	Egress  string   `json:"egress,omitempty"` // that its traffic takes now; empty: blocked
	// Egress6 carries its IPv6 where that is another; empty: the same, or it has no IPv6.
	Egress6 string `json:"egress6,omitempty"`
}

// devices adds the routes about devices.
func (s *Server) devices(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/device/use", func(w http.ResponseWriter, r *http.Request) {
		var request DeviceRequest
		if !readBody(w, r, &request) || request.Device == "" {
			s.refuse(w, http.StatusBadRequest,
				errors.New(`the body must be {"device": NAME, "egress": NAME}`))
			return
		}
		backend, ok := s.backend.(DeviceBackend)
		if !ok {
			s.refuse(w, http.StatusInternalServerError, errors.New("no device can choose here"))
			return
		}
		answer, err := backend.UseFor(context.WithoutCancel(r.Context()), request)
		s.reply(w, answer, err)
	})
}

// UseFor makes an exit the choice of one device; an empty exit forgets the choice.
func (c *Conn) UseFor(ctx context.Context, r DeviceRequest) (Identity, error) {
	var out Identity
	return out, c.call(ctx, http.MethodPost, "/v1/device/use", r, &out)
}
