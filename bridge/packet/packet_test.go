package packet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// all passes every packet.
var all = []bpf.Instruction{bpf.RetConstant{Val: 1 << 16}}

// The lab: a host with two links to another.
//
//	asker ── 10.1.0.0/24 ── eth0 ┐
//	asker ── 10.2.0.0/24 ── eth1 ┴ listener
func newLab(t *testing.T) (asker, listener *netlab.Namespace) {
	t.Helper()
	netlab.Require(t, netlab.Root)
	top, err := lab.NewLab()
	must(t, err)
	t.Cleanup(func() { must(t, top.Close()) })
	asker, err = top.Host("asker")
	must(t, err)
	listener, err = top.Host("listener")
	must(t, err)
	for name, net := range map[string]string{"eth0": "10.1.0.", "eth1": "10.2.0."} {
		_, err = netlab.Connect(asker,
			netlab.Iface{Name: name, Addrs: []netip.Prefix{netip.MustParsePrefix(net + "1/24")}},
			listener, netlab.Iface{Name: name,
				Addrs: []netip.Prefix{netip.MustParsePrefix(net + "2/24")}})
		must(t, err)
	}
	return asker, listener
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T, ns *netlab.Namespace, iface string) *Listener {
	t.Helper()
	var l *Listener
	must(t, ns.Do(func() error {
		ifi, err := net.InterfaceByName(iface)
		if err == nil {
			l, err = Listen(ifi, unix.ETH_P_IP, all)
		}
		return err
	}))
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// TestListen hears what comes in by its interface, and nothing else: what comes in by another one,
// other protocols, what goes out.
func TestListen(t *testing.T) {
	asker, listener := newLab(t)
	l := listen(t, listener, "eth0")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, ping := range []struct {
		from *netlab.Namespace
		to   string
	}{
		// the second is heard by its answer alone
		{asker, "10.2.0.2"}, {listener, "10.1.0.1"}, {asker, "10.1.0.2"},
	} {
		_, err := ping.from.Run(ctx, "ping", "-c", "1", ping.to)
		must(t, err)
	}
	for _, want := range []byte{0, 8} { // an answer, a question
		buf := make([]byte, 100)
		n, link, err := l.Receive(ctx, buf)
		must(t, err)
		if n < 28 || netip.AddrFrom4([4]byte(buf[16:20])).String() != "10.1.0.2" ||
			buf[20] != want || link.Pkttype != unix.PACKET_HOST {
			t.Errorf("heard %x from %+v, want an echo of type %d to 10.1.0.2", buf[:n], link, want)
		}
	}
}

// TestListenCostsLittle looks at how the kernel asks the socket: as one for a single EtherType, it
// would have every packet cloned.
func TestListenCostsLittle(t *testing.T) {
	_, listener := newLab(t)
	l := listen(t, listener, "eth0")
	must(t, listener.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/ptype")
		if err != nil {
			return err
		}
		var asked []string
		for line := range strings.Lines(string(text)) {
			// type, device, function
			if fields := strings.Fields(line); len(fields) == 3 &&
				strings.HasPrefix(fields[2], "packet_rcv") {
				asked = append(asked, fields[0]+" "+fields[1])
			}
		}
		if want := []string{"ALL eth0"}; !slices.Equal(asked, want) {
			t.Errorf("packet sockets are asked for %q, want %q:\n%s", asked, want, text)
		}
		return nil
	}))
	if ignored, err := l.GetsockoptInt(unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING); err != nil ||
		ignored != 1 {
		t.Errorf("outgoing packets are shown to the socket too: %d, %v", ignored, err)
	}
}

// TestInterfaceGoes: who listens learns that the interface is down, or gone.
func TestInterfaceGoes(t *testing.T) {
	_, listener := newLab(t)
	for _, tc := range []struct{ name, iface, change string }{
		{"goes down", "eth0", "link set eth0 down"},
		{"is down", "eth0", "link show eth0"},
		{"is deleted", "eth1", "link del eth1"},
	} {
		l := listen(t, listener, tc.iface)
		must(t, listener.IP(tc.change))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		var err error
		for err == nil {
			_, _, err = l.Receive(ctx, make([]byte, 100))
		}
		cancel()
		if !errors.Is(err, ErrInterface) {
			t.Errorf("%s: %v, want %v", tc.name, err, ErrInterface)
		}
	}
}

// TestClose and a cancelled context end a wait.
func TestClose(t *testing.T) {
	_, listener := newLab(t)
	l := listen(t, listener, "eth0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		_, _, err := l.Receive(ctx, make([]byte, 100))
		if errors.Is(err, context.Canceled) {
			break
		}
		must(t, err) // a packet that was there already
	}
	must(t, l.Close())
	if _, _, err := l.Receive(t.Context(), make([]byte, 100)); err == nil {
		t.Error("a closed listener hears")
	}
}
