package echowatch

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ztbridge/bridge/packet"
)

// ErrInterface is returned when the interface is missing, down or gone. Run may be called again
// later.
var ErrInterface = packet.ErrInterface

// Echo is an echo request or reply.
type Echo struct {
	Reply bool
	Dst   netip.Addr
	Data  []byte // behind identifier and sequence number; valid during the call only
}

// Run calls saw for each echo that comes in by the interface, of both IP versions, from two
// goroutines at once, until ctx ends; then it returns nil. It fails with ErrInterface when the
// interface does. saw must not block.
func Run(ctx context.Context, iface string, saw func(Echo)) error {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return fmt.Errorf("finding %s: %w: %w", iface, ErrInterface, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, v := range versions {
		g.Go(func() error { return v.watch(ctx, ifi, saw) })
	}
	return g.Wait()
}

// version is what differs between the IP versions.
type version struct {
	protocol uint16 // EtherType
	filter   []bpf.Instruction
	parse    func([]byte) (Echo, bool)
}

var versions = []version{
	{unix.ETH_P_IP, echoes4, parse4},
	{unix.ETH_P_IPV6, echoes6, parse6},
}

func (v version) watch(ctx context.Context, ifi *net.Interface, saw func(Echo)) error {
	l, err := packet.Listen(ifi, v.protocol, v.filter)
	if err != nil {
		return err
	}
	defer l.Close()
	buf := make([]byte, snap)
	for {
		n, _, err := l.Receive(ctx, buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if e, ok := v.parse(buf[:n]); ok {
			saw(e)
		}
	}
}

const (
	// snap is how much of a packet is looked at, in bytes: the longest headers, and the beginning
	// of the data.
	snap = 256

	header4, header6, headerEcho = 20, 40, 8

	reply4, request4 = 0, 8
	request6, reply6 = 128, 129
)

// echoes4 passes IPv4 packets that begin with an echo.
var echoes4 = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMP, SkipTrue: 7},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 5}, // not the first fragment
	bpf.LoadMemShift{Off: 0},
	bpf.LoadIndirect{Off: 0, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: reply4, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: request4, SkipTrue: 1},
	bpf.RetConstant{Val: snap},
	bpf.RetConstant{Val: 0},
}

// echoes6 passes IPv6 packets that are echoes, without extension headers.
var echoes6 = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 4},
	bpf.LoadAbsolute{Off: header6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: request6, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: reply6, SkipTrue: 1},
	bpf.RetConstant{Val: snap},
	bpf.RetConstant{Val: 0},
}

func parse4(b []byte) (Echo, bool) {
	if len(b) < header4 || b[0]>>4 != 4 {
		return Echo{}, false
	}
	dst, _ := netip.AddrFromSlice(b[16:20])
	return parseEcho(b, int(b[0]&0x0f)*4, dst, request4, reply4)
}

func parse6(b []byte) (Echo, bool) {
	if len(b) < header6 || b[0]>>4 != 6 {
		return Echo{}, false
	}
	dst, _ := netip.AddrFromSlice(b[24:40])
	return parseEcho(b, header6, dst, request6, reply6)
}

func parseEcho(b []byte, header int, dst netip.Addr, request, reply byte) (Echo, bool) {
	if header < header4 || len(b) < header+headerEcho || b[header] != request &&
		b[header] != reply {
		return Echo{}, false
	}
	return Echo{Reply: b[header] == reply, Dst: dst, Data: b[header+headerEcho:]}, true
}
