package ndp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"ztbridge/bridge/packet"
)

// ErrInterface is returned when the interface is missing, down, vanished, or without what answers
// need: an Ethernet address and a link-local one. Run may be called again later.
var ErrInterface = packet.ErrInterface

const (
	// answersPerSecond and answersBurst bound what a flood of solicitations can make this box send.
	// A router asks for each address about once in 30 s.
	answersPerSecond = 500
	answersBurst     = 1000
	// sourceAge is how long the interface's own addresses are cached. They change with its network.
	sourceAge = 10 * time.Second
)

// Config configures a Proxy.
type Config struct {
	// Iface is the name of the interface on which neighbours ask.
	Iface string
	// Ours reports whether the box is to answer for an address. It is called for each solicitation,
	// from Run's goroutine, and must not block.
	Ours func(netip.Addr) bool
	// Logger receives start, end and floods.
	Logger *slog.Logger
}

// Proxy answers neighbour solicitations.
type Proxy struct {
	cfg        Config
	limit      *rate.Limiter
	unanswered uint64 // because there were too many; of Run's goroutine
}

// New returns a proxy that does nothing until Run.
func New(cfg Config) *Proxy {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	return &Proxy{cfg: cfg, limit: rate.NewLimiter(answersPerSecond, answersBurst)}
}

// Run answers until ctx ends, and then returns nil. It fails with ErrInterface when the interface
// is not there or goes away; the caller calls it again when the interface is back.
func (p *Proxy) Run(ctx context.Context) error {
	l, err := p.listen()
	if err != nil {
		return err
	}
	defer l.Close()
	p.cfg.Logger.Info("neighbour proxy answers", "iface", p.cfg.Iface)
	buf := make([]byte, 2048) // solicitations are small; a longer one is cut, and then invalid
	for {
		n, from, err := l.Receive(ctx, buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if err := p.handle(ctx, l, buf[:n], from); err != nil {
			return err
		}
	}
}

// listener is a packet socket on the interface, with the addresses to answer from.
type listener struct {
	*packet.Listener
	ifi      *net.Interface
	source   netip.Addr // link-local, the source of our answers
	sourceAt time.Time
}

func (p *Proxy) listen() (*listener, error) {
	ifi, err := net.InterfaceByName(p.cfg.Iface)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w: %w", p.cfg.Iface, ErrInterface, err)
	}
	if len(ifi.HardwareAddr) != 6 {
		return nil, fmt.Errorf("finding %s: %w: no Ethernet address", p.cfg.Iface, ErrInterface)
	}
	l := &listener{ifi: ifi}
	if err := l.refresh(time.Now()); err != nil {
		return nil, err
	}
	if l.Listener, err = packet.Listen(ifi, unix.ETH_P_IPV6, solicitations); err != nil {
		return nil, err
	}
	all := unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_ALLMULTI}
	if err := l.SetsockoptPacketMreq(unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
		&all); err != nil {
		return nil, errors.Join(fmt.Errorf("hearing all multicast on %s: %w: %w", ifi.Name,
			ErrInterface, err), l.Close())
	}
	return l, nil
}

// ethIPv6 is ETH_P_IPV6 in network byte order.
const ethIPv6 = unix.ETH_P_IPV6>>8 | unix.ETH_P_IPV6&0xff<<8

// solicitations passes IPv6 packets that can be neighbour solicitations: ICMPv6, with the hop limit
// that proves that they come from the link.
var solicitations = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 5},
	bpf.LoadAbsolute{Off: 7, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 255, SkipTrue: 3},
	bpf.LoadAbsolute{Off: headerLen, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: typeSolicitation, SkipTrue: 1},
	bpf.RetConstant{Val: 2048},
	bpf.RetConstant{Val: 0},
}

// refresh finds the link-local address to answer from.
func (l *listener) refresh(now time.Time) error {
	if l.source.IsValid() && now.Sub(l.sourceAt) < sourceAge {
		return nil
	}
	addrs, err := l.ifi.Addrs()
	if err != nil {
		return fmt.Errorf("reading addresses of %s: %w: %w", l.ifi.Name, ErrInterface, err)
	}
	for _, a := range addrs {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(ipnet.IP); ok && ip.Is6() && ip.IsLinkLocalUnicast() {
			l.source, l.sourceAt = ip, now
			return nil
		}
	}
	return fmt.Errorf("reading addresses of %s: %w: no link-local address", l.ifi.Name,
		ErrInterface)
}

// handle answers one packet, if it is a solicitation for us to answer. It fails only when the
// interface does.
func (p *Proxy) handle(ctx context.Context, l *listener, message []byte,
	link *unix.SockaddrLinklayer) error {
	if link.Pkttype != unix.PACKET_HOST && link.Pkttype != unix.PACKET_MULTICAST {
		return nil // packets of this box itself, above all
	}
	s, err := parse(message)
	if err != nil || !p.cfg.Ours(s.target) {
		return nil
	}
	now := time.Now()
	if !p.limit.AllowN(now, 1) {
		if p.unanswered++; p.unanswered&(p.unanswered-1) == 0 { // at 1, 2, 4, 8 …
			p.cfg.Logger.Warn("too many neighbour solicitations", "iface", p.cfg.Iface,
				"unanswered", p.unanswered)
		}
		return nil
	}
	if err := l.refresh(now); err != nil {
		return err
	}
	answer, err := s.answer(l.source, l.ifi.HardwareAddr)
	if err != nil {
		return fmt.Errorf("building an advertisement: %w", err)
	}
	if err := l.Sendto(ctx, answer, 0, s.destination(l.ifi.Index, link)); err != nil &&
		ctx.Err() == nil {
		return fmt.Errorf("answering on %s: %w: %w", p.cfg.Iface, ErrInterface, err)
	}
	return nil
}
