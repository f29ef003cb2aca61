// Package packet hears packets that come in by an interface, whomever they are for, at next to no cost for them.
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

// Listener is a packet socket (packet(7), SOCK_DGRAM: without the header of the link). Its methods may be called by
// several goroutines.
type Listener struct {
	*socket.Conn
	ifi      *net.Interface
	sentinel *socket.Conn
	watched  chan struct{} // closed when the sentinel has ended
}

// unheard is an EtherType that nobody sends (the loopback test of Ethernet).
const unheard = unix.ETH_P_LOOPBACK

// Listen hears the packets of an EtherType (in host byte order, unix.ETH_P_IP) that come in by the interface and that the
// filter returns more than 0 for. The caller closes the Listener.
//
// A socket that is bound to the interface is asked by the kernel after its own IP, which then has to clone every packet
// and, in order to forward it, to copy it: 4 % of the processor time of a busy VPN server (measured). One that is bound to no
// interface is asked before. So the filter tells the interfaces apart, and a second socket, bound to the interface and to
// what nobody sends, notices its end.
func Listen(ifi *net.Interface, protocol uint16, filter []bpf.Instruction) (*Listener, error) {
	l := &Listener{ifi: ifi, watched: make(chan struct{})}
	var err error
	// Protocol 0 hears nothing: not a packet may pass before the filter is in place.
	if l.Conn, err = socket.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0, "packet", nil); err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	if l.sentinel, err = socket.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0, "packet", nil); err != nil {
		return nil, errors.Join(fmt.Errorf("opening a packet socket: %w", err), l.Conn.Close())
	}
	if err := l.bind(protocol, filter); err != nil {
		return nil, errors.Join(err, l.sentinel.Close(), l.Conn.Close())
	}
	go l.watch()
	return l, nil
}

func (l *Listener) bind(protocol uint16, filter []bpf.Instruction) error {
	program, err := bpf.Assemble(append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(l.ifi.Index), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, filter...))
	if err != nil {
		return fmt.Errorf("assembling the filter: %w", err)
	}
	if err := l.SetBPF(program); err != nil {
		return fmt.Errorf("setting the filter: %w", err)
	}
	if err := l.sentinel.Bind(&unix.SockaddrLinklayer{Protocol: swap(unheard), Ifindex: l.ifi.Index}); err != nil {
		return fmt.Errorf("binding to %s: %w: %w", l.ifi.Name, ErrInterface, err)
	}
	if err := l.Bind(&unix.SockaddrLinklayer{Protocol: swap(protocol)}); err != nil {
		return fmt.Errorf("binding to a protocol: %w", err)
	}
	return nil
}

// watch closes the socket that is read when the interface goes.
func (l *Listener) watch() {
	defer close(l.watched)
	var err error
	for err == nil {
		_, _, err = l.sentinel.Recvfrom(context.Background(), make([]byte, 1), 0)
	}
	_ = l.Conn.Close()
}

// Receive returns the next packet's length in buf, which may cut it, and where it came from. It blocks until there is one,
// and fails with the error of ctx, or with ErrInterface.
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

// Close ends the Listener.
func (l *Listener) Close() error {
	err := l.sentinel.Close()
	<-l.watched
	return errors.Join(err, l.Conn.Close())
}

// swap is htons(3): sockaddr_ll wants the protocol in network byte order, and x/sys hands it over as it is.
func swap(v uint16) uint16 { return v>>8 | v<<8 }
