package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/pathdial"
)

// namespace is a network namespace that the kernel removes, with the devices in it, when close has
// closed its file and what was opened in it is closed.
type namespace struct{ file *os.File }

func newNamespace() (*namespace, error) {
	n := &namespace{}
	err := inThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.file, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	return n, nil
}

func (n *namespace) close() { _ = n.file.Close() }

// do runs a function in the namespace. Several may run at the same time.
func (n *namespace) do(f func() error) error {
	return inThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		return f()
	})
}

// inThread runs a function in a thread of its own, which ends with it.
func inThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the main thread never ends: while it is here, another
			err := inThread(f)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- f() // never unlocked: the thread ends with the goroutine
	}()
	return <-done
}

// adopt moves a device into the namespace and gives it what the server assigned.
func (n *namespace) adopt(device string, s *client.Session) error {
	if err := n.take(device); err != nil {
		return err
	}
	return n.do(func() error {
		errs := []error{ip(nil, "link", "set", "dev", "lo", "up"),
			ip(nil, "link", "set", "dev", device, "mtu", strconv.Itoa(s.MTU), "up")}
		for _, a := range s.Addrs {
			errs = append(errs, ip(nil, "addr", "add", a.String(), "dev", device, "nodad"))
			family := "-4"
			if a.Addr().Is6() {
				family = "-6"
			}
			errs = append(errs, ip(nil, family, "route", "add", "default", "dev", device))
		}
		return errors.Join(errs...)
	})
}

// take moves a device into the namespace.
func (n *namespace) take(device string) error {
	// By the file that it inherits: another process may not look it up under this one's number,
	// which starts programs with secrets and is closed to all without CAP_SYS_PTRACE.
	return ip([]*os.File{n.file}, "link", "set", "dev", device, "netns", "/proc/self/fd/3")
}

// ip runs iproute2 in the calling thread's namespace. Files are its descriptors from 3 on.
func ip(files []*os.File, args ...string) error {
	cmd := exec.Command("ip", args...)
	cmd.ExtraFiles = files
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running ip %v: %w: %s", args, err, out)
	}
	return nil
}

const (
	trialTries   = 3
	trialTimeout = 3 * time.Second
)

// check exchanges packets with a target, three times at most.
func (n *namespace) check(ctx context.Context, name string, target netip.Addr,
	exchange func(netip.Addr, time.Time) error) TrialCheck {
	c := TrialCheck{Name: name, Target: target.String()}
	for range trialTries {
		if c.Err = ctx.Err(); c.Err != nil {
			return c
		}
		begin := time.Now()
		c.Err = n.do(func() error { return exchange(target, begin.Add(trialTimeout)) })
		c.Took = time.Since(begin)
		if c.Err == nil {
			return c
		}
	}
	return c
}

// echo sends an ICMP echo request and waits for the reply.
func echo(target netip.Addr, deadline time.Time) error {
	network, kind, protocol := "ip4:icmp", icmp.Type(ipv4.ICMPTypeEcho), 1
	if target.Is6() {
		network, kind, protocol = "ip6:ipv6-icmp", ipv6.ICMPTypeEchoRequest, 58
	}
	conn, err := net.DialIP(network, nil, &net.IPAddr{IP: target.AsSlice()})
	if err != nil {
		return err
	}
	defer conn.Close()
	id := os.Getpid() & 0xffff
	request, err := (&icmp.Message{Type: kind, Body: &icmp.Echo{ID: id, Seq: 1,
		Data: make([]byte, 56)}}).Marshal(nil)
	if err == nil {
		_, writeErr := conn.Write(request)
		err = errors.Join(conn.SetDeadline(deadline), writeErr)
	}
	buffer := make([]byte, 1500)
	for err == nil {
		var size int
		if size, _, err = conn.ReadFrom(buffer); err != nil { // without the IPv4 header
			break
		}
		reply, parseErr := icmp.ParseMessage(protocol, buffer[:size])
		if parseErr != nil {
			continue
		}
		if body, ok := reply.Body.(*icmp.Echo); ok && body.ID == id && reply.Type != kind {
			return nil
		}
	}
	return err
}

// askDNS asks a resolver for the root's name servers.
func askDNS(resolver netip.Addr, deadline time.Time) error {
	asker := dns.Client{Timeout: time.Until(deadline), UDPSize: dns.DefaultMsgSize}
	_, _, err := asker.Exchange(new(dns.Msg).SetQuestion(".", dns.TypeNS),
		pathdial.ResolverOf(resolver).String())
	return err
}

// handshake opens a TCP connection.
func handshake(target netip.Addr, deadline time.Time) error {
	d := net.Dialer{Deadline: deadline}
	conn, err := d.Dial("tcp", netip.AddrPortFrom(target, 443).String())
	if err != nil {
		return err
	}
	return conn.Close()
}
