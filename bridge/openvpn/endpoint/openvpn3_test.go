package endpoint_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/pki"
	"ztbridge/policyroute/netlab"
)

// TestOpenVPN3 has the OpenVPN 3 core import the profile as it is printed and connect with it: by
// UDP, by TCP where the café drops all UDP, and through an HTTP proxy. OpenVPN Connect on phones is
// built on the same core.
func TestOpenVPN3(t *testing.T) {
	netlab.Require(t, netlab.OpenVPN3)
	t.Parallel()
	l := newLab(t)
	c, profile := l.add(pki.Request{Name: "phone"})
	ns := l.host()
	linux := l.startOpenVPN3(ns)
	path := filepath.Join(l.lab.Dir, "phone.ovpn")
	must(t, os.WriteFile(path, []byte(profile), 0o600))
	linux.run("config-import", "--config", path, "--name", "phone")

	for i, listener := range []string{"udp/1194", "tcp/443"} {
		if i == 1 {
			l.drop(ns, "meta l4proto udp")
		}
		linux.connected("phone", func() {
			s, ok := l.session("phone", listener)
			if !ok || !slices.Equal(s.Addrs, addrs(t, c, i)) ||
				!strings.HasPrefix(s.Program, "v3.") {
				t.Errorf("session %+v, want one of OpenVPN 3 by %s with the addresses %v", s,
					listener, addrs(t, c, i))
			}
			resolvers, err := os.ReadFile(linux.resolvConf)
			must(t, err)
			if !strings.Contains(string(resolvers), "nameserver 192.0.2.53") {
				t.Errorf("by %s it asks not the resolver that was pushed:\n%s", listener, resolvers)
			}
			t.Logf("%s: connected with %s", listener, s.Program)
		})
	}

	// The same profile through a proxy, as one sets it in the app.
	proxy := l.serveProxy()
	l.drop(ns, "ip daddr 203.0.113.0/24")
	linux.run("config-manage", "--config", "phone", "--proxy-host", proxyAddr.Addr().String(),
		"--proxy-port", "3128",
		"--proxy-username", proxyUser, "--proxy-password", proxyPassword, "--proxy-auth-cleartext",
		"true")
	linux.connected("phone", func() {
		if s, _ := l.session("phone",
			"tcp/443"); s.Remote.Addr() != netip.MustParseAddr("203.0.113.2") {
			t.Errorf("the client comes from %s, want the proxy", s.Remote)
		}
	})
	if len(proxy.Tunnels()) == 0 {
		t.Error("nothing went through the proxy")
	}
}

// openvpn3 is OpenVPN 3 Linux in one namespace, with a system bus of its own.
type openvpn3 struct {
	t   testing.TB
	ns  *netlab.Namespace
	bus *netlab.Process // its log is also that of the services
	// resolvConf is the file in which it names resolvers.
	resolvConf string
}

// services are those of OpenVPN 3 Linux, by their names on the bus, and what starts them. They keep
// nothing on disk. All but one drop root's rights by themselves.
var services = map[string]string{
	"log":           "openvpn3-service-log",
	"configuration": "openvpn3-service-configmgr",
	"sessions":      "openvpn3-service-sessionmgr",
	"netcfg":        "openvpn3-service-netcfg",
	"backends":      "openvpn3-service-backendstart",
}

// busConfig lets everybody on the bus do everything: nobody else is there.
const busConfig = `<busconfig>
<type>system</type>
<listen>unix:path=/run/dbus/system_bus_socket</listen>
<servicedir>%s</servicedir>
<policy context="default">
<allow user="*"/><allow own="*"/><allow send_destination="*"/><allow eavesdrop="true"/>
</policy>
</busconfig>
`

// startOpenVPN3 starts the bus, which starts the services when they are asked for.
func (l *testbed) startOpenVPN3(ns *netlab.Namespace) *openvpn3 {
	l.t.Helper()
	dir := filepath.Join(l.lab.Dir, "bus")
	must(l.t, os.Mkdir(dir, 0o755))
	o := &openvpn3{t: l.t, ns: ns, resolvConf: filepath.Join(dir, "resolv.conf")}
	must(l.t, os.WriteFile(o.resolvConf, nil, 0o644))
	for name, program := range services {
		exec := "/usr/libexec/openvpn3-linux/" + program
		switch name {
		case "backends":
			exec = "/usr/bin/setpriv --reuid=_openvpn --regid=_openvpn --init-groups " + exec
		case "netcfg":
			exec += " --resolv-conf " + o.resolvConf
		}
		text := fmt.Sprintf("[D-BUS Service]\nName=net.openvpn.v3.%s\nUser=root\nExec=%s\n", name,
			exec)
		must(l.t, os.WriteFile(filepath.Join(dir, "net.openvpn.v3."+name+".service"), []byte(text),
			0o644))
	}
	config := filepath.Join(dir, "bus.conf")
	must(l.t, os.WriteFile(config, fmt.Appendf(nil, busConfig, dir), 0o644))
	// One of the services does not look at DBUS_SYSTEM_BUS_ADDRESS. The mount is this namespace's
	// alone.
	var err error
	o.bus, err = ns.Start(netlab.Command("sh", "-c",
		`mkdir -p /run/dbus && mount -t tmpfs bus /run/dbus && exec dbus-daemon --nofork --nopidfile --config-file="$0"`, config))
	must(l.t, err)
	await(l.t, "the bus is there", func() bool {
		_, err := ns.Run(context.Background(), "test", "-S", "/run/dbus/system_bus_socket")
		return err == nil
	})
	return o
}

// run executes a command of openvpn3 to its end.
func (o *openvpn3) run(args ...string) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	if _, err := o.ns.Run(ctx, "openvpn3", args...); err != nil {
		o.t.Fatal(err)
	}
}

// connected runs a test while a session carries traffic of both families.
func (o *openvpn3) connected(config string, test func()) {
	o.t.Helper()
	o.run("session-start", "--config", config)
	awaitEcho(o.t, o.ns, innerAddr)
	awaitEcho(o.t, o.ns, inner6)
	test()
	o.run("session-manage", "--config", config, "--disconnect")
}
