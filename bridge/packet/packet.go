package packet

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/socket"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrInterface is returned when the interface is down or gone. Another Listener may be made later.
var ErrInterface = errors.New("interface not usable")

// Listener is a packet socket (packet(7), SOCK_DGRAM: without the header of the link). Its methods
// may be called by several goroutines. The owner closes it.
type Listener struct {
	*socket.Conn
	ifi *net.Interface
}

// Listen receives the packets of an EtherType (in host byte order, unix.ETH_P_IP) that come in by
// the interface and pass the filter. It fails with ErrInterface when the interface is gone.
//
// The socket is for all EtherTypes, and the filter checks the type. The kernel serves a socket for
// one type after its own IP (Linux 6.18, __netif_receive_skb_core), which then clones every packet
// and copies those that it forwards: 4 % of the processor time of a busy VPN server (measured).
func Listen(ifi *net.Interface, protocol uint16, filter []bpf.Instruction) (*Listener, error) {
	// Protocol 0 receives nothing: no packet may pass before the filter is set.
	c, err := socket.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0, "packet", nil)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	l := &Listener{Conn: c, ifi: ifi}
	if err := l.bind(protocol, filter); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return l, nil
}

func (l *Listener) bind(protocol uint16, filter []bpf.Instruction) error {
	program, err := bpf.Assemble(append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(protocol), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, filter...))
	if err != nil {
		return fmt.Errorf("assembling the filter: %w", err)
	}
	if err := l.SetBPF(program); err != nil {
		return fmt.Errorf("setting the filter: %w", err)
	}
	if err := l.SetsockoptInt(unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fmt.Errorf("leaving outgoing packets alone: %w", err)
	}
	if err := l.Bind(&unix.SockaddrLinklayer{Protocol: allProtocols,
		Ifindex: l.ifi.Index}); err != nil {
		return fmt.Errorf("binding to %s: %w: %w", l.ifi.Name, ErrInterface, err)
	}
	return nil
}

// allProtocols is ETH_P_ALL in network byte order, as in sockaddr_ll.
const allProtocols = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8

// Receive returns the next packet's length in buf, which may cut it, and where it came from. It
// blocks until there is one, and fails with the error of ctx, or with ErrInterface.
func (l *Listener) Receive(ctx context.Context, buf []byte) (int, *unix.SockaddrLinklayer, error) {
	n, from, err := l.Recvfrom(ctx, buf, 0)
	if ctx.Err() != nil {
		return 0, nil, ctx.Err()
	}
	if err != nil {
		return 0, nil, fmt.Errorf("reading from %s: %w: %w", l.ifi.Name, ErrInterface, err)
	}
	link, _ := from.(*unix.SockaddrLinklayer) // packet sockets know no other
	return n, link, nil
}
