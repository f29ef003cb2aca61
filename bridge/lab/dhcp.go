package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute/netlab"
)

// Lease is what a DHCP server gives to the one host that asks.
type Lease struct {
	Addr     netip.Prefix // with the length of the network; IPv4
	Router   netip.Addr   // and the server's own address
	Resolver netip.Addr
}

const leaseTime = 24 * time.Hour

// ServeDHCP gives the lease to whoever asks on an interface of the host, until the returned
// function is called.
func ServeDHCP(n *netlab.Namespace, iface string, lease Lease) (stop func() error, err error) {
	bind := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), iface) }),
			err)
	}}
	var conn net.PacketConn
	err = n.Do(func() error {
		conn, err = bind.ListenPacket(context.Background(), "udp4", ":67")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serving DHCP on %s of %s: %w", iface, n.Label, err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { lease.serve(conn) })
	return func() error {
		err := conn.Close()
		wg.Wait()
		return err
	}, nil
}

// serve ends when the socket is closed.
func (l Lease) serve(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		size, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var request layers.DHCPv4
		if request.DecodeFromBytes(buf[:size], gopacket.NilDecodeFeedback) != nil {
			continue
		}
		if answer := l.answer(&request); answer != nil {
			// The client has no address yet. One who does not hear it asks again.
			_, _ = conn.WriteTo(answer, &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
		}
	}
}

// answer returns the reply to a message of a client (RFC 2131), nil where there is none.
func (l Lease) answer(request *layers.DHCPv4) []byte {
	reply := map[layers.DHCPMsgType]layers.DHCPMsgType{
		layers.DHCPMsgTypeDiscover: layers.DHCPMsgTypeOffer,
		layers.DHCPMsgTypeRequest:  layers.DHCPMsgTypeAck,
	}[messageType(request)]
	if reply == layers.DHCPMsgTypeUnspecified {
		return nil
	}
	seconds := uint32(leaseTime / time.Second)
	answer := &layers.DHCPv4{
		Operation: layers.DHCPOpReply, HardwareType: request.HardwareType,
		HardwareLen: request.HardwareLen, Xid: request.Xid,
		Flags: request.Flags, YourClientIP: l.Addr.Addr().AsSlice(),
		ClientHWAddr: request.ClientHWAddr,
		Options: layers.DHCPOptions{
			layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(reply)}),
			layers.NewDHCPOption(layers.DHCPOptServerID, l.Router.AsSlice()),
			layers.NewDHCPOption(layers.DHCPOptLeaseTime,
				[]byte{byte(seconds >> 24), byte(seconds >> 16), byte(seconds >> 8),
					byte(seconds)}),
			layers.NewDHCPOption(layers.DHCPOptSubnetMask, net.CIDRMask(l.Addr.Bits(), 32)),
			layers.NewDHCPOption(layers.DHCPOptRouter, l.Router.AsSlice()),
			layers.NewDHCPOption(layers.DHCPOptDNS, l.Resolver.AsSlice()),
		},
	}
	out := gopacket.NewSerializeBuffer()
	if err := answer.SerializeTo(out, gopacket.SerializeOptions{FixLengths: true}); err != nil {
		return nil
	}
	return out.Bytes()
}

func messageType(m *layers.DHCPv4) layers.DHCPMsgType {
	for _, o := range m.Options {
		if o.Type == layers.DHCPOptMessageType && len(o.Data) == 1 {
			return layers.DHCPMsgType(o.Data[0])
		}
	}
	return layers.DHCPMsgTypeUnspecified
}
