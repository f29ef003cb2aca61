package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute/netlab"
)

const advertInterval = time.Second

// Advertise sends router advertisements on an interface of the host, at once and every second until
// the returned function is called. They carry a default route of half an hour and the prefix as on
// link, from which hosts make no addresses of their own.
func Advertise(n *netlab.Namespace, iface string, prefix netip.Prefix) (stop func() error,
	err error) {
	conn, err := n.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("advertising on %s of %s: %w", iface, n.Label, err)
	}
	pc := ipv6.NewPacketConn(conn)
	// Receivers drop advertisements that may have passed a router (RFC 4861, 6.1.2).
	if err := errors.Join(pc.SetMulticastHopLimit(255), pc.SetChecksum(true, 2)); err != nil {
		return nil, errors.Join(fmt.Errorf("advertising on %s of %s: %w", iface, n.Label, err),
			conn.Close())
	}
	send := func() error {
		_, err := conn.WriteTo(advertisement(prefix),
			&net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: iface})
		return err
	}
	// The zone is a name of this namespace. A new link has no route for multicast until the kernel
	// has noticed its carrier, which takes up to a second on a busy machine: the next one arrives.
	if err := n.Do(send); err != nil && !errors.Is(err, unix.ENETUNREACH) {
		return nil, errors.Join(fmt.Errorf("advertising on %s of %s: %w", iface, n.Label, err),
			conn.Close())
	}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(advertInterval)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
				_ = n.Do(send) // the interface may be down for a while
			}
		}
	})
	var once sync.Once
	return func() (err error) {
		once.Do(func() {
			close(quit)
			wg.Wait()
			err = conn.Close()
		})
		return err
	}, nil
}

// advertisement returns an ICMPv6 router advertisement (RFC 4861, 4.2) without its checksum.
func advertisement(prefix netip.Prefix) []byte {
	const lifetime = 1800 // seconds
	b := make([]byte, 16+32)
	b[0] = byte(ipv6.ICMPTypeRouterAdvertisement)
	b[4] = 64 // hop limit
	binary.BigEndian.PutUint16(b[6:], lifetime)
	info := b[16:] // prefix information option
	info[0], info[1], info[2] = 3, 4, byte(prefix.Bits())
	info[3] = 0x80 // on link; not for autoconfiguration
	binary.BigEndian.PutUint32(info[4:], lifetime)
	binary.BigEndian.PutUint32(info[8:], lifetime)
	addr := prefix.Masked().Addr().As16()
	copy(info[16:], addr[:])
	return b
}
