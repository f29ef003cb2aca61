package lab

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Numbers of RFC 1928 and RFC 1929.
const (
	socksVersion   = 5
	socksNone      = 0    // no login is needed
	socksLogin     = 2    // user name and password
	socksNoMethod  = 0xff // none of those that the client has
	socksConnect   = 1
	socksUDP       = 3 // UDP ASSOCIATE
	socksIPv4      = 1
	socksName      = 3
	socksIPv6      = 4
	socksOK        = 0
	socksForbidden = 2
	socksFailed    = 5
)

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 4096) }

// socks reads a request by SOCKS and passes on.
func (p *Proxy) socks(conn net.Conn) {
	read := newReader(conn)
	if p.greet(conn, read) != nil {
		return
	}
	var head [3]byte
	if _, err := io.ReadFull(read, head[:]); err != nil || head[0] != socksVersion {
		return
	}
	place, err := readPlace(read)
	if err != nil {
		return
	}
	switch head[1] {
	case socksConnect:
		up, err := p.reach(place)
		if err != nil {
			_, _ = conn.Write(socksReply(socksFailed, netip.AddrPort{}))
			return
		}
		_, _ = conn.Write(socksReply(socksOK, netip.AddrPort{}))
		p.pass(conn, read, up)
	case socksUDP:
		p.associate(conn)
	default:
		_, _ = conn.Write(socksReply(socksForbidden, netip.AddrPort{}))
	}
}

// greet agrees on a login and checks it.
func (p *Proxy) greet(conn net.Conn, read io.Reader) error {
	var head [2]byte
	if _, err := io.ReadFull(read, head[:]); err != nil {
		return err
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(read, methods); err != nil {
		return err
	}
	want := byte(socksNone)
	if p.options.User != "" {
		want = socksLogin
	}
	if head[0] != socksVersion || !bytes.Contains(methods, []byte{want}) {
		_, err := conn.Write([]byte{socksVersion, socksNoMethod})
		return errors.Join(err, errors.New("no login in common"))
	}
	if _, err := conn.Write([]byte{socksVersion, want}); err != nil || want == socksNone {
		return err
	}
	var version [1]byte
	if _, err := io.ReadFull(read, version[:]); err != nil {
		return err
	}
	user, err := readShort(read)
	if err != nil {
		return err
	}
	password, err := readShort(read)
	if err != nil {
		return err
	}
	if user != p.options.User || password != p.options.Password {
		_, err := conn.Write([]byte{1, 1})
		return errors.Join(err, errors.New("wrong login"))
	}
	_, err = conn.Write([]byte{1, 0})
	return err
}

// associate passes packets on by UDP as long as the client's connection lives.
func (p *Proxy) associate(conn net.Conn) {
	relay, err := p.network.ListenPacket("udp", net.JoinHostPort(p.address.String(), "0"))
	if err != nil {
		_, _ = conn.Write(socksReply(socksFailed, netip.AddrPort{}))
		return
	}
	defer p.keep(relay)()
	_, _ = conn.Write(socksReply(socksOK, addrPort(relay.LocalAddr())))
	_ = conn.SetReadDeadline(time.Time{})
	p.serving.Go(func() {
		_, _ = io.Copy(io.Discard, conn)
		_ = relay.Close()
	})
	host := addrPort(conn.RemoteAddr()).Addr()
	var client net.Addr
	seen := false
	buf := make([]byte, 1<<16)
	for {
		n, from, err := relay.ReadFrom(buf)
		if err != nil {
			return
		}
		source := addrPort(from)
		if source.Addr() != host || client != nil && client.String() != from.String() {
			if client != nil {
				head := socksReply(socksOK, source)
				head[0] = 0 // reserved in a packet
				_, _ = relay.WriteTo(append(head, buf[:n]...), client)
			}
			continue
		}
		client = from
		read := bytes.NewReader(buf[:n])
		if _, err := read.Seek(3, io.SeekStart); err != nil {
			continue
		}
		place, err := readPlace(read)
		if err != nil {
			continue
		}
		if to, err := netip.ParseAddrPort(place); err == nil {
			if !seen {
				p.remember(place)
			}
			seen = true
			_, _ = relay.WriteTo(buf[n-read.Len():n], net.UDPAddrFromAddrPort(to))
		}
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	ap, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// socksReply is an answer, or the head of a packet but for its first byte.
func socksReply(code byte, at netip.AddrPort) []byte {
	out := []byte{socksVersion, code, 0, socksIPv4, 0, 0, 0, 0}
	if at.Addr().IsValid() {
		kind := byte(socksIPv4)
		if at.Addr().Is6() {
			kind = socksIPv6
		}
		out = append([]byte{socksVersion, code, 0, kind}, at.Addr().AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(out, at.Port())
}

// readPlace reads an address or a name, and a port.
func readPlace(r io.Reader) (string, error) {
	var kind [1]byte
	if _, err := io.ReadFull(r, kind[:]); err != nil {
		return "", err
	}
	var host string
	switch kind[0] {
	case socksIPv4, socksIPv6:
		size := 4
		if kind[0] == socksIPv6 {
			size = 16
		}
		raw := make([]byte, size)
		if _, err := io.ReadFull(r, raw); err != nil {
			return "", err
		}
		addr, _ := netip.AddrFromSlice(raw)
		host = addr.String()
	case socksName:
		var err error
		if host, err = readShort(r); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("no kind of address: %d", kind[0])
	}
	var port [2]byte
	if _, err := io.ReadFull(r, port[:]); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:])))), nil
}

// readShort reads a text behind its length.
func readShort(r io.Reader) (string, error) {
	var size [1]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return "", err
	}
	text := make([]byte, size[0])
	_, err := io.ReadFull(r, text)
	return string(text), err
}
