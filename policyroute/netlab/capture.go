package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	captureRing = 64 << 20 // bytes the kernel may queue for us
	captureKeep = 200      // packets kept of those that matched
	frameMax    = 256 << 10
)

// Capture watches an interface and counts the packets that match. It sees both directions, whatever
// the host's firewall thinks of them.
type Capture struct {
	file *os.File
	raw  syscall.RawConn
	done chan struct{}

	mu      sync.Mutex // held while a packet is taken from the kernel and looked at
	match   Match
	seen    int
	matched int
	kept    []Packet
	dropped int
	err     error
	stopped bool
}

// Capture starts to watch an interface of the namespace. It ends with Stop.
func (n *Namespace) Capture(iface string, match Match) (*Capture, error) {
	c := &Capture{match: match, done: make(chan struct{})}
	err := n.Do(func() error {
		dev, err := net.InterfaceByName(iface)
		if err != nil {
			return fmt.Errorf("capturing on %s of %s: %w", iface, n.Label, err)
		}
		c.file, err = packetSocket(dev.Index)
		if err != nil {
			return fmt.Errorf("capturing on %s of %s: %w", iface, n.Label, err)
		}
		c.raw, err = c.file.SyscallConn()
		return err
	})
	if err != nil {
		return nil, err
	}
	go c.read()
	return c, nil
}

// packetSocket opens an AF_PACKET socket for every frame of an interface.
func packetSocket(index int) (*os.File, error) {
	// Protocol 0: nothing is queued before the socket is bound to the one interface.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "packet socket")
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE,
		captureRing); err != nil {
		return nil, errors.Join(fmt.Errorf("setting the size of the ring: %w", err), f.Close())
	}
	// Promiscuous, because a port of a bridge must see frames for others.
	mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
		&mreq); err != nil {
		return nil, errors.Join(fmt.Errorf("setting promiscuous mode: %w", err), f.Close())
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // network byte order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		return nil, errors.Join(fmt.Errorf("binding: %w", err), f.Close())
	}
	return f, nil
}

// read is the capture's goroutine; it ends when the socket is closed.
func (c *Capture) read() {
	defer close(c.done)
	d := newDecoder()
	buf := make([]byte, frameMax)
	err := c.raw.Read(func(fd uintptr) bool {
		for {
			again, err := c.take(int(fd), d, buf)
			if err != nil {
				c.fail(err)
				return true
			}
			if !again {
				return false
			}
		}
	})
	if err != nil {
		c.fail(err)
	}
}

func (c *Capture) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.err = err
	}
}

// take looks at one packet; false means that there is none.
func (c *Capture) take(fd int, d *decoder, buf []byte) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size, from, err := unix.Recvfrom(fd, buf, 0)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return false, nil
	case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
		return true, nil // the link went down: said once, and the socket lives on
	case err != nil:
		return false, fmt.Errorf("receiving: %w", err)
	}
	link, ok := from.(*unix.SockaddrLinklayer)
	if !ok {
		return false, fmt.Errorf("receiving: the sender is a %T", from)
	}
	p := d.decode(buf[:size], link.Hatype == unix.ARPHRD_ETHER)
	p.At = time.Now()
	p.Outgoing = link.Pkttype == unix.PACKET_OUTGOING
	c.seen++
	if !c.match(p) {
		return true, nil
	}
	c.matched++
	if len(c.kept) < captureKeep {
		p.Data = bytes.Clone(p.Data)
		c.kept = append(c.kept, p)
	}
	return true, nil
}

// sync waits until every packet that the kernel has queued was looked at.
func (c *Capture) sync() error {
	for {
		queued := 0
		var err error
		c.mu.Lock()
		ctlErr := c.raw.Control(func(fd uintptr) {
			queued, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
			c.addDropped(int(fd))
		})
		failed, stopped := c.err, c.stopped
		c.mu.Unlock()
		switch {
		case failed != nil:
			return failed
		case stopped:
			return nil
		case queued == 0 && ctlErr == nil && err == nil:
			return nil
		case ctlErr != nil || err != nil:
			return errors.Join(ctlErr, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// addDropped adds what the kernel dropped since it was last asked. c.mu is held.
func (c *Capture) addDropped(fd int) {
	if st, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET,
		unix.PACKET_STATISTICS); err == nil {
		c.dropped += int(st.Drops)
	}
}

// Stop ends the capture; what it saw can still be read. It is safe to call it twice.
func (c *Capture) Stop() error {
	err := c.sync()
	c.mu.Lock()
	stopped := c.stopped
	c.stopped = true
	c.mu.Unlock()
	if !stopped {
		err = errors.Join(err, c.file.Close())
	}
	<-c.done
	return err
}

// Result is what a capture has seen so far.
type Result struct {
	Seen    int      // packets in all
	Matched int      // of them, packets that matched
	Kept    []Packet // the first of those that matched
	// packets that the kernel could not keep for us: if not 0, the capture proves nothing
	Dropped int
}

// Result returns what was seen up to this moment, having looked at all that is queued.
func (c *Capture) Result() (Result, error) {
	err := c.sync()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Result{Seen: c.seen, Matched: c.matched, Kept: append([]Packet(nil), c.kept...),
		Dropped: c.dropped}, err
}

// String prints the counts and the first packets that matched.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d packets seen, %d matched, %d dropped by the capture", r.Seen, r.Matched,
		r.Dropped)
	for i, p := range r.Kept {
		if i == 20 {
			fmt.Fprintf(&b, "\n  … and %d more", r.Matched-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s", p)
	}
	return b.String()
}
