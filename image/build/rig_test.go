package build

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// rig is a lab of namespaces in which the box is a machine that runs the image. It has all it knows
// from files on the FAT partition:
//
//	client ──(switch)── tap ─ enp0s17 ┌───────┐ enp0s16 ─ tap ──(bridge)── router ── provider with a real OpenVPN server
//	                                  │ guest │             ▲ captured         └──── internet
//	                                  └───────┘
//
// A person looks into the box by SSH, from the Internet or the box's LAN.
type rig struct {
	t       *testing.T
	lab     *lab.Topology
	disk    Disk
	machine Machine
	leaks   *netlab.Capture
	streams map[string]*lab.Stream
	guest   *Guest
	login   string            // who may log in, and become root
	from    *netlab.Namespace // a person's host
	address netip.Addr        // where the box is reached from there
	// shell runs a command in a box that is not logged in to by SSH.
	shell func(command string) (string, error)
}

const (
	wanMAC     = "02:00:5e:00:00:16"
	ingressMAC = "02:00:5e:00:00:17"
)

// clientsNetwork gives the card for the clients its addresses.
const clientsNetwork = "[Match]\nMACAddress=" + ingressMAC +
	"\n[Network]\nAddress=10.77.0.1/24\nAddress=fd77::1/64\nIPv6AcceptRA=no\n"

// jobConfig is what a person writes who has a second network card for the clients, and a provider
// that wants a password.
const jobConfig = "ingress: [enp0s17]\negress:\n  provider: {openvpn: {profile: provider.ovpn, credentials: provider.auth}}\n"

var customer = lab.Credentials{User: "customer", Password: secret}

func newRig(t *testing.T, image string, opts lab.Options) *rig {
	t.Helper()
	r := emptyRig(t, opts)
	r.disk = newDisk(t, image)
	r.machine.Disk = string(r.disk)
	return r
}

// emptyRig has a machine without a disk.
func emptyRig(t *testing.T, opts lab.Options) *rig {
	t.Helper()
	netlab.Require(t, netlab.Root, netlab.OpenVPN)
	need(t, "ssh", "ssh-keygen")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	opts.Providers = []lab.ProviderOptions{{Credentials: &customer}}
	top, err := lab.Standard(ctx, opts)
	must(t, err)
	t.Cleanup(func() { must(t, top.Close()) })
	r := &rig{t: t, lab: top, streams: map[string]*lab.Stream{},
		machine: Machine{Firmware: BIOS}, login: "root", from: top.Internet,
		address: lab.BoxWAN4}
	r.plug(top.WAN, top.WANSegment, lab.WANIface, wanMAC, 16)
	if top.IngressSegment != nil {
		r.plug(top.Ingress, top.IngressSegment, lab.IngressIface, ingressMAC, 17)
	}
	r.leaks, err = top.WatchLeaks()
	must(t, err)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plug puts a card of the machine in the place of an interface of the lab's own box.
func (r *rig) plug(link *netlab.Link, segment *netlab.Segment, iface, mac string, slot int) {
	r.t.Helper()
	must(r.t, link.Delete())
	tap, err := segment.Tap(r.lab.Box, iface)
	must(r.t, err)
	r.t.Cleanup(func() { _ = tap.Close() })
	r.machine.Extra = append(r.machine.Extra,
		"-netdev", fmt.Sprintf("tap,id=%s,fd=%d", iface, 3+len(r.machine.Files)),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=%s,addr=%#x", iface, mac, slot))
	r.machine.Files = append(r.machine.Files, tap)
}

// provision puts on the FAT partition what every test needs: addresses, since the lab has no DHCP,
// and a key for SSH. The other files come from the caller.
func (r *rig) provision(files map[string]string) {
	r.t.Helper()
	put(r.t, r.disk, map[string]string{
		"authorized_keys": r.publicKey(),
		"wan.network": fmt.Sprintf(
			"[Match]\nMACAddress=%s\n[Network]\nAddress=%s/24\nAddress=%s/64\nGateway=198.51.100.1\nGateway=2001:db8:b0::1\nDNS=%s\nIPv6AcceptRA=no\n",
			wanMAC, lab.BoxWAN4, lab.BoxWAN6, lab.ResolverAddr),
		"clients.network": clientsNetwork,
	})
	put(r.t, r.disk, files)
}

// provisionJob gives the box everything it needs for its job.
func (r *rig) provisionJob(config string) {
	r.t.Helper()
	r.provision(map[string]string{"ztbridge.yaml": config,
		"provider.ovpn": r.lab.Providers[0].Config(),
		"provider.auth": customer.User + "\n" + customer.Password + "\n"})
}

// publicKey is of the person who may log in.
func (r *rig) publicKey() string {
	r.t.Helper()
	key := r.keyFile()
	if _, err := os.Stat(key); err != nil {
		_, err := r.lab.Internet.Run(r.t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "",
			"-f", key)
		must(r.t, err)
	}
	public, err := os.ReadFile(key + ".pub")
	must(r.t, err)
	return string(public)
}

func (r *rig) keyFile() string { return filepath.Join(r.lab.Dir, "ssh-key") }

func (r *rig) boot() {
	r.t.Helper()
	r.guest = boot(r.t, r.machine)
}

// ssh runs a shell command in the box.
func (r *rig) ssh(command string) (string, error) {
	if r.shell != nil {
		return r.shell(command)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), bootTimeout)
	defer cancel()
	return r.from.Run(ctx, "ssh", "-i", r.keyFile(), "-o", "StrictHostKeyChecking=no", "-o",
		"UserKnownHostsFile=/dev/null",
		"-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20", "-o",
		"ServerAliveInterval=15", r.login+"@"+r.address.String(), command)
}

// console is the end of what the box has said.
func (r *rig) console() string {
	if r.shell != nil {
		out, _ := r.shell("journalctl --no-pager -n 40")
		return out
	}
	return r.guest.Tail(40)
}

// ended reports whether a machine has ended, with which nothing is to be waited for any more.
func (r *rig) ended() bool { return r.guest != nil && r.guest.Ended() }

func (r *rig) mustSSH(command string) string {
	r.t.Helper()
	out, err := r.ssh(command)
	must(r.t, err)
	return out
}

// await repeats a command in the box until its output, whatever its exit code, has the text.
func (r *rig) await(command, want string) string {
	r.t.Helper()
	out, err := "", error(nil)
	for deadline := time.Now().Add(bootTimeout); time.Now().Before(deadline); time.Sleep(
		time.Second) {
		if out, err = r.ssh(command); strings.Contains(out, want) {
			return out
		}
		if r.ended() {
			break
		}
	}
	r.t.Fatalf("waiting for %q of `%s`: %v\n%s\nconsole:\n%s", want, command, err, out,
		r.console())
	return ""
}

// startStreams lets the client talk, from before the box has power.
func (r *rig) startStreams() {
	r.t.Helper()
	for _, s := range []struct {
		kind    lab.Kind
		version lab.Version
		rate    int
	}{
		{lab.UDP, lab.IPv4, 50}, {lab.UDP, lab.IPv6, 50}, {lab.TCP, lab.IPv4, 10},
		{lab.DNS, lab.IPv4, 5}, {lab.Ping, lab.IPv4, 10},
	} {
		stream, err := r.lab.ClientStream(s.kind, s.version, s.rate)
		must(r.t, err)
		r.streams[fmt.Sprintf("%s%d", s.kind, s.version)] = stream
	}
}

// awaitFlow waits until all of the client's streams are answered from now on, and returns how long
// it took.
func (r *rig) awaitFlow(after string) time.Duration {
	r.t.Helper()
	began := time.Now()
	for name, s := range r.streams {
		_, before, _ := s.Counts()
		for {
			if _, now, _ := s.Counts(); now >= before+5 {
				break
			}
			if time.Since(began) > bootTimeout || r.ended() {
				r.t.Fatalf("after %s: %s is not answered: %v\nconsole:\n%s", after, name,
					s.Report(), r.console())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	took := time.Since(began).Round(100 * time.Millisecond)
	r.t.Logf("%s: everything flows after %s", after, took)
	return took
}

// awaitSilence waits until nothing of the client's has been answered for a while.
func (r *rig) awaitSilence(after string) {
	r.t.Helper()
	const quiet = 3 * time.Second
	deadline := time.Now().Add(bootTimeout)
	for name, s := range r.streams {
		for {
			if _, _, last := s.Counts(); time.Since(last) > quiet {
				break
			}
			if time.Now().After(deadline) {
				r.t.Fatalf("after %s: %s is still answered: %v", after, name, s.Report())
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// finish ends the client's streams and checks what they, and the WAN, have seen since before the
// power was on: answers only by way of the provider, and not one packet of the client's in the
// open.
func (r *rig) finish() {
	r.t.Helper()
	provider := r.lab.Providers[0]
	for name, s := range r.streams {
		report := s.Stop()
		r.t.Logf("client %s: %v", name, report)
		for seen := range report.Egresses() {
			if !slices.Contains([]netip.Addr{provider.Public4[0], provider.Public6[0]}, seen) &&
				!provider.Inside(seen) {
				r.t.Errorf("%s was seen from %s, which is not the provider's", name, seen)
			}
		}
	}
	must(r.t, r.leaks.Stop())
	result, err := r.leaks.Result()
	must(r.t, err)
	r.t.Logf("on the box's WAN: %v", result)
	if result.Matched > 0 || result.Dropped > 0 {
		r.t.Errorf("%d leaked packets, and %d that the capture missed", result.Matched,
			result.Dropped)
	}
	if result.Seen == 0 {
		r.t.Error("the capture saw nothing at all: it proves nothing")
	}
}
