package probe

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// loopback is the index of lo in every network namespace (LOOPBACK_IFINDEX).
const loopback = 1

// path is the mark that routes probes, and the interface by which answers must come.
type path struct {
	fwmark uint32 // SO_MARK; 0: none
	// device returns the interface's name; nil or an empty name: any but loopback
	device func() string
}

// name returns the interface's name; empty: any but loopback.
func (p path) name() string {
	if p.device == nil {
		return ""
	}
	return p.device()
}

// brought reports whether an answer came by the device, and not from the box itself. IPv6 reports
// packets that the box sends to itself as received by the interface with the address, so that the
// source is checked as well.
func (p path) brought(conn syscall.Conn, link int, from net.Addr) bool {
	ip, ok := from.(*net.IPAddr)
	if !ok || link == loopback || own(ip.IP) {
		return false
	}
	name := p.name()
	if name == "" {
		return true
	}
	index, err := indexOf(conn, name)
	return err == nil && index == link
}

// receiver is a socket that tells by which interface packets came.
type receiver struct {
	*net.IPConn
	// read returns the next packet without an IPv4 header, the index of its interface, and its
	// source.
	read func([]byte) (n, link int, from net.Addr, err error)
}

func newReceiver(conn *net.IPConn, v6 bool) (*receiver, error) {
	r := &receiver{IPConn: conn}
	var err error
	if v6 {
		p := ipv6.NewPacketConn(conn)
		err = p.SetControlMessage(ipv6.FlagInterface, true)
		r.read = func(b []byte) (n, link int, from net.Addr, err error) {
			n, cm, from, err := p.ReadFrom(b)
			if cm != nil {
				link = cm.IfIndex
			}
			return n, link, from, err
		}
	} else {
		p := ipv4.NewPacketConn(conn)
		err = p.SetControlMessage(ipv4.FlagInterface, true)
		r.read = func(b []byte) (n, link int, from net.Addr, err error) {
			n, cm, from, err := p.ReadFrom(b)
			if cm != nil {
				link = cm.IfIndex
			}
			return n, link, from, err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the interface of answers: %w", err)
	}
	return r, nil
}

// indexOf returns the index of an interface in the network namespace of a socket.
func indexOf(conn syscall.Conn, name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, request)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return 0, fmt.Errorf("index of %s: %w", name, err)
	}
	return int(request.Uint32()), nil
}

// own reports whether the box itself has the address.
func own(ip net.IP) bool {
	if ip.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

// elsewhere returns the targets that are not the box itself.
func elsewhere(targets []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(targets),
		func(t netip.Addr) bool { return own(t.AsSlice()) })
}
