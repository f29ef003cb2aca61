package client

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/ovpntest"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/policyroute/netlab"
)

// shape is one form of a profile, after those that providers and products write.
type shape struct {
	name string
	// profile are lines beside the usual ones (client, certificates, remote).
	profile []string
	// raw, when not empty, is the whole file instead.
	raw string
	// edit changes the whole file last.
	edit func(string) string
	// server are lines beside the usual ones of a server that is configured the same way.
	server []string
	// options are how the profile is read.
	options profile.Options
	// files stand beside the profile.
	files map[string]string
	// peer is the server's address in the tunnel; empty: .1 of the shape's own network.
	peer string
	// refused is part of the error where the profile is refused.
	refused string
	// differs says why official openvpn comes to another outcome; empty: it does not.
	differs string
}

// The corpus of shapes runs in one pair of namespaces:
//
//	┌─ test process ───────────────────┐      ┌─ provider ─────────────────────────┐
//	│ tunztbN  ours      wan0          │ veth │ prov0        srvN  10.N.N.1        │
//	│ otunN    official  192.0.2.1 ────┼──────┼─ 192.0.2.2   one openvpn a shape   │
//	└──────────────────────────────────┘      └────────────────────────────────────┘
//
// For each shape that is accepted, official openvpn connects with the file as it is, and the tunnel
// with what was made of it; both must pass packets of 1,400 bytes in both directions.
func TestLongCorpus(t *testing.T) {
	netlab.Long(t, "connects official openvpn and a tunnel for each of 600 shapes of profiles")
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	// Names that the profiles use, for openvpn and for us.
	hosts := serverAddr + " vpn.example.net gw2.example.net\n"
	if err := os.WriteFile(filepath.Join(l.dir, "hosts"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	l.sh("ip addr add 2001:db8:2::1/64 dev wan0 nodad")
	l.provider("ip addr add 2001:db8:2::2/64 dev prov0 nodad")
	shapes := corpus(t, l)
	if len(shapes) < 600 {
		t.Errorf("the corpus has only %d shapes", len(shapes))
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	failed := make(chan string, len(shapes))
	only := regexp.MustCompile(os.Getenv("ZTBRIDGE_SHAPE"))
	for i, s := range shapes {
		if !only.MatchString(s.name) {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := l.try(i, s); err != nil {
				failed <- fmt.Sprintf("%s: %v", s.name, err)
			}
		})
	}
	wg.Wait()
	close(failed)
	for f := range failed {
		t.Error(f)
	}
	t.Logf("%d shapes", len(shapes))
}

// trial is one shape under test.
type trial struct {
	*lab
	n   int
	dir string
}

func (l *lab) try(n int, s shape) error {
	tr := &trial{lab: l, n: n, dir: filepath.Join(l.dir, fmt.Sprintf("shape%d", n))}
	if err := os.Mkdir(tr.dir, 0o755); err != nil {
		return err
	}
	text := s.raw
	if text == "" {
		text = l.usual() + strings.Join(s.profile, "\n") + "\n"
		if !strings.Contains(text, "remote ") {
			text += fmt.Sprintf("remote %s PORT\n", serverAddr)
		}
	}
	text = tr.fill(text)
	if s.edit != nil {
		text = s.edit(text)
	}
	for name, content := range s.files {
		path := filepath.Join(tr.dir, name)
		if err := os.WriteFile(path, []byte(tr.fill(content)), 0o600); err != nil {
			return err
		}
		var err error
		if s.options.Files, err = profile.DirFiles(tr.dir, nil); err != nil {
			return err
		}
	}
	p, _, err := profile.Parse([]byte(text), "p.ovpn", s.options)
	switch {
	case s.refused == "" && err != nil:
		return fmt.Errorf("it is refused: %w", err)
	case s.refused != "" && (err == nil || !strings.Contains(err.Error(), s.refused)):
		return fmt.Errorf("want %q in the error: %w", s.refused, err)
	}
	if s.refused == "" || s.differs == "" {
		stop, err := tr.server(s)
		if err != nil {
			return err
		}
		defer stop()
	}
	if s.differs == "" {
		switch err := tr.official(text, s.peer); {
		case s.refused == "" && err != nil:
			return fmt.Errorf("official openvpn: %w", err)
		case s.refused != "" && err == nil:
			return fmt.Errorf("it is refused, and official openvpn carries data")
		}
	}
	if s.refused != "" {
		return nil
	}
	return tr.ours(p, s.peer)
}

func (tr *trial) port() int { return 20000 + tr.n }

func (tr *trial) subnet() string { return fmt.Sprintf("10.%d.%d", 100+tr.n/200, tr.n%200) }

// fill writes the shape's own port, network and directory.
func (tr *trial) fill(text string) string {
	return strings.NewReplacer("PORT", fmt.Sprint(tr.port()), "SUBNET", tr.subnet(),
		"_DIR_", tr.dir).Replace(text)
}

// usual is what nearly every profile holds.
func (l *lab) usual() string {
	return strings.Join([]string{"client", "dev tun", "nobind", "remote-cert-tls server",
		ovpntest.Inline("ca", l.pki.CA.PEM), ovpntest.Inline("cert", l.pki.Client.PEM),
		ovpntest.Inline("key", l.pki.Client.Key)}, "\n") + "\n"
}

// server starts the shape's server.
func (tr *trial) server(s shape) (stop func(), err error) {
	lines := []string{"dev-type tun", fmt.Sprintf("dev srv%d", tr.n), "dh none",
		"keepalive 10 60", "verb 3", "data-ciphers-fallback AES-256-CBC", "duplicate-cn"}
	text := strings.Join(s.server, "\n")
	for word, usual := range map[string]string{
		"proto ":    "proto udp",
		"port ":     "port PORT",
		"topology ": "topology subnet",
		"<ca>":      ovpntest.Inline("ca", tr.pki.CA.PEM),
		"<cert>": ovpntest.Inline("cert", tr.pki.Server.PEM) + "\n" +
			ovpntest.Inline("key", tr.pki.Server.Key),
	} {
		if !strings.Contains("\n"+text, "\n"+word) {
			lines = append(lines, usual)
		}
	}
	if strings.Contains(text, "mode server") {
		lines = append(lines, "keepalive 10 60")
	} else if strings.Contains(text, "tls-server") {
		lines = lines[:len(lines):len(lines)]
		for i, line := range lines {
			if line == "duplicate-cn" || line == "topology subnet" {
				lines[i] = ""
			}
		}
	} else {
		lines = append(lines, "server SUBNET.0 255.255.255.0")
	}
	text = tr.fill(strings.Join(lines, "\n") + "\n" + text + "\n")
	path := filepath.Join(tr.dir, "server.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return tr.await("the server", "nsenter", "-t", fmt.Sprint(tr.pause.PID()), "-n", "openvpn",
		"--config", path, "--suppress-timestamps")
}

// await starts a program and waits until it says that it is ready.
func (tr *trial) await(what, program string, args ...string) (stop func(), err error) {
	var mu sync.Mutex
	var log []string
	ready := make(chan struct{}, 1)
	p := tr.spawn(func(line string) {
		mu.Lock()
		log = append(log, line)
		mu.Unlock()
		// One end of a point-to-point tunnel is complete when the other has come.
		if strings.Contains(line, "Initialization Sequence Completed") ||
			what == "the server" && (strings.Contains(line, "link remote: [AF_UNSPEC]") ||
				strings.HasPrefix(line, "Listening for incoming TCP")) {
			select {
			case ready <- struct{}{}:
			default:
			}
		}
	}, program, args...)
	select {
	case <-ready:
		return p.Kill, nil
	case <-p.Done():
	case <-time.After(20 * time.Second):
		p.Kill()
	}
	mu.Lock()
	defer mu.Unlock()
	return nil, fmt.Errorf("%s does not get ready: %s", what,
		strings.Join(log[max(0, len(log)-12):], "\n"))
}

// official connects openvpn itself with the file as it is.
func (tr *trial) official(text, peer string) error {
	path := filepath.Join(tr.dir, "official.ovpn")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	login := filepath.Join(tr.dir, "login")
	if err := os.WriteFile(login, []byte("alice\nhunter2\n"), 0o600); err != nil {
		return err
	}
	device := fmt.Sprintf("otun%d", tr.n)
	args := []string{"--cd", tr.dir, "--config", path, "--dev", device, "--dev-type", "tun",
		"--route-noexec", "--suppress-timestamps", "--connect-retry", "1",
		"--connect-timeout", "8", "--providers", "legacy", "default"}
	if strings.Contains(text, "auth-user-pass\n") {
		args = append(args, "--auth-user-pass", login)
	}
	stop, err := tr.await("openvpn", "openvpn", args...)
	if err != nil {
		return err
	}
	defer stop()
	return tr.data(device, peer)
}

// ours connects a tunnel with what was made of the profile.
func (tr *trial) ours(p *profile.Profile, peer string) error {
	device := fmt.Sprintf("tunztb%d", tr.n)
	changed := make(chan struct{}, 1)
	tunnel, err := New(Config{
		Name: fmt.Sprintf("shape%d", tr.n), Profile: p, Device: device,
		Credentials: &profile.Credentials{Username: "alice", Password: "hunter2",
			KeyPassphrase: "open sesame"},
		EnsureDevice: func() (string, error) { return tr.makeDevice(device) },
		UID:          labUser, GID: labUser, Resolver: labNames{},
		RuntimeDir: filepath.Join(tr.lab.dir, "run"), StateDir: filepath.Join(tr.dir, "state"),
		Log: slog.New(slog.DiscardHandler),
		Notify: func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tunnel.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	waitRange := time.After(30 * time.Second)
	for {
		s := tunnel.Status()
		if s.State == StateUp {
			if err := execute("ip", "addr", "add", s.Session.Addrs[0].String(), "dev", device,
				"noprefixroute"); err != nil {
				return err
			}
			if err := execute("ip", "link", "set", device, "up", "mtu",
				fmt.Sprint(s.Session.MTU)); err != nil {
				return err
			}
			if peer != "" {
				if err := execute("ip", "route", "add", peer, "dev", device); err != nil {
					return err
				}
			}
			return tr.data(device, peer)
		}
		select {
		case <-changed:
		case <-waitRange:
			var log strings.Builder
			for _, line := range tunnel.Log() {
				fmt.Fprintln(&log, line.Text)
			}
			return fmt.Errorf("the tunnel is %s: %s\n%s", s.State, s.Cause, log.String())
		}
	}
}

func (tr *trial) makeDevice(device string) (string, error) {
	node := filepath.Join(tr.dir, "tun-node")
	script := fmt.Sprintf(
		`ip link show %[1]s >/dev/null 2>&1 || ip tuntap add dev %[1]s mode tun user %[2]d group %[2]d
		[ -e %[3]s ] || { mknod -m 600 %[3]s c 10 200 && chown %[2]d %[3]s; }`, device, labUser, node)
	return node, execute("sh", "-c", script)
}

// data passes packets of 1,400 bytes in both directions: an echo is one each way.
func (tr *trial) data(device, peer string) error {
	peer = cmp.Or(peer, tr.subnet()+".1")
	out, err := exec.Command("ping", "-I", device, "-c", "3", "-i", "0.2", "-W", "4", "-s", "1372",
		peer).CombinedOutput()
	if err != nil {
		return fmt.Errorf("packets of 1,400 bytes do not pass: %w: %s", err, out)
	}
	return nil
}

func execute(program string, args ...string) error {
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", program, args, err, out)
	}
	return nil
}

// labNames resolves every name to the provider's address.
type labNames struct{}

func (labNames) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr(serverAddr)}, nil
}
