package endpoint_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"ztbridge/bridge/onetime"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/openvpn/process"
	"ztbridge/bridge/pki"
	"ztbridge/bridge/tun"
)

// boxEnv tells this test binary to be the box: a process of its own in the box's namespace, as the
// daemon is. It holds the directory of its files.
const boxEnv = "ZTB_TEST_BOX"

// nobody is whom openvpn runs as.
const nobody = 65534

var (
	pool4 = netip.MustParsePrefix("10.83.64.0/20")
	pool6 = netip.MustParsePrefix("fd5a:5442:4947::/64")
)

func TestMain(m *testing.M) {
	dir := os.Getenv(boxEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := box(ctx, dir)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// testListeners are the endpoint's in every test.
func testListeners() ([]endpoint.Listener, error) {
	pools, err := endpoint.Divide(pool4, pool6, 2)
	if err != nil {
		return nil, err
	}
	return []endpoint.Listener{
		{Proto: "udp", Port: 1194, Device: "tunztb.udp1194", Pool: pools[0]},
		{Proto: "tcp", Port: 443, Device: "tunztb.tcp443", Pool: pools[1]},
	}, nil
}

// registry is the key store as the endpoint wants it.
type registry struct{ *pki.Store }

func (r registry) Keys() (endpoint.Keys, error) {
	if _, err := r.Ensure(); err != nil {
		return endpoint.Keys{}, err
	}
	s, err := r.Server()
	return endpoint.Keys{
		CA: string(s.CA), Cert: string(s.Cert), Key: string(s.Key), CryptV2: string(
			s.CryptV2), CRL: string(s.CRL),
	}, err
}

func (r registry) Client(name string) (endpoint.Client, error) {
	c, err := r.Store.Client(name)
	if errors.Is(err, pki.ErrUnknown) {
		return endpoint.Client{}, endpoint.ErrUnknownClient
	}
	return clientOf(c), err
}

func (r registry) Clients() (map[string]endpoint.Client, error) {
	list, err := r.Store.Clients()
	out := map[string]endpoint.Client{}
	for _, c := range list {
		out[c.Name] = clientOf(c)
	}
	return out, err
}

func clientOf(c pki.Client) endpoint.Client {
	return endpoint.Client{
		Name: c.Name, Serial: c.Serial, Host: c.Host, Expires: c.Expires, Revoked: c.Revoked != nil,
		NetworkOnly: c.Tunnel == pki.TunnelZeroTier, NoDNS: c.DNS != nil && !*c.DNS,
	}
}

// box is the main program of the box.
func box(ctx context.Context, dir string) error {
	listeners, err := testListeners()
	if err != nil {
		return err
	}
	web, err := onetime.New(onetime.Config{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Host: boxAddr.String(), Port: 443,
		Dir: filepath.Join(dir, "state", "links"),
	})
	if err != nil {
		return err
	}
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o711); err != nil {
		return errors.Join(err, web.Close())
	}
	server, err := endpoint.New(endpoint.Config{
		Listeners: listeners,
		Registry:  registry{pki.New(filepath.Join(dir, "state", "pki"))},
		DNS:       []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		Networks: func() []netip.Prefix {
			return []netip.Prefix{netip.MustParsePrefix("10.147.17.0/24")}
		},
		Web: web.Addr(),
		EnsureDevice: func(device string) (string, error) {
			if err := tun.Ensure(device, nobody, process.DeviceGroup(device)); err != nil {
				return "", err
			}
			if err := address(listeners, device); err != nil {
				return "", err
			}
			return tun.Node(run, nobody)
		},
		UID: nobody, GID: nobody, RuntimeDir: filepath.Join(run, "endpoint"),
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return errors.Join(err, web.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return web.Run(ctx) })
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error { return control(ctx, filepath.Join(dir, "control"), server, web) })
	return g.Wait()
}

// address does what the reconcile loop does: it sets the device's addresses and takes it up.
func address(listeners []endpoint.Listener, device string) error {
	for _, l := range listeners {
		if l.Device != device {
			continue
		}
		commands := [][]string{{"link", "set", device, "up"}}
		for _, a := range l.Pool.Server() {
			commands = append(commands, []string{"addr", "replace", a.String(), "dev", device})
		}
		for _, c := range commands {
			if out, err := exec.Command("ip", c...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %v: %w: %s", c, err, out)
			}
		}
	}
	return nil
}

// control lets the test ask the box, as commands ask the daemon.
func control(ctx context.Context, socket string, s *endpoint.Server, web *onetime.Server) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(s.Status())
	})
	mux.HandleFunc("POST /disconnect/{name}", func(w http.ResponseWriter, r *http.Request) {
		n, err := s.Disconnect(r.PathValue("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(n)
	})
	mux.HandleFunc("POST /link/{name}", func(w http.ResponseWriter, r *http.Request) {
		link, err := web.Issue(r.PathValue("name"), []byte("profile"), func() bool { return true })
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(link)
	})
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
