package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

// TestErrorsDoNotLeak has the Internet send packets to a client that the box must refuse by itself:
// with a hop limit that is used up at the box, for a client that is gone, and for connections that
// nobody remembers. What the kernel says about them quotes the packet and carries the box's own
// address, and main would send it out by the WAN.
func TestErrorsDoNotLeak(t *testing.T) {
	t.Parallel()
	top, b, leaks := watchedGateway(t)

	const port = 9999
	server, err := top.Internet.ListenPacket("udp4",
		netip.AddrPortFrom(lab.ClientTarget4, port).String())
	must(t, err)
	defer server.Close()
	client, err := top.Client.Dial(t.Context(), "udp4",
		netip.AddrPortFrom(lab.ClientTarget4, port).String())
	must(t, err)
	defer client.Close()
	peer := hello(t, server, client, top.Marker)

	// From the Internet host the hops are router, provider, box: which of them a small hop limit
	// ends at depends on the lab, so all small ones are tried.
	conn := ipv4.NewPacketConn(server)
	for ttl := 1; ttl <= 6; ttl++ {
		must(t, conn.SetTTL(ttl))
		for range 3 {
			_, err := server.WriteTo([]byte(top.Marker+" with few hops left"), peer)
			must(t, err)
		}
	}
	must(t, conn.SetTTL(64))

	b.sh("conntrack -F")
	for range 5 {
		_, err := server.WriteTo([]byte(top.Marker+" for a forgotten connection"), peer)
		must(t, err)
	}
	peer = hello(t, server, client, top.Marker)

	must(t, top.Client.IP("link set eth0 down"))
	for range 5 {
		_, err := server.WriteTo([]byte(top.Marker+" for a client that is gone"), peer)
		must(t, err)
		time.Sleep(100 * time.Millisecond)
	}
	// The kernel gives up on a neighbour after three seconds (mcast_solicit × retrans_time).
	time.Sleep(4 * time.Second)
	noLeak(t, leaks)
	_ = b.await("the daemon to be well",
		func(st api.Status) bool { return st.Reconcile.Error == "" })
}

// hello sends one packet from the client, so that the connection is known all along the way, and
// returns where the server has to answer.
func hello(t *testing.T, server net.PacketConn, client net.Conn, marker string) net.Addr {
	t.Helper()
	must(t, server.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := fmt.Fprintf(client, "%s hello", marker)
	must(t, err)
	_, peer, err := server.ReadFrom(make([]byte, 2048))
	must(t, err)
	return peer
}
