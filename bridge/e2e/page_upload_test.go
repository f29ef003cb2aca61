package e2e

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/web/browsertest"
	"ztbridge/policyroute/netlab"
)

// serveImports does what ztbridge-import.socket does: it starts the unit's command for each
// connection, which is the command's standard input and output.
func (b *box) serveImports() {
	b.t.Helper()
	l, err := net.Listen("unix", filepath.Join(b.dir, "run-import.sock"))
	must(b.t, err)
	b.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			file, err := conn.(*net.UnixConn).File()
			_ = conn.Close()
			if err != nil {
				continue
			}
			cmd := netlab.Command(program, b.args("page", "import")...)
			cmd.Stdin, cmd.Stdout = file, file
			_, err = b.ns.Start(cmd)
			_ = file.Close()
			if err != nil {
				return
			}
		}
	}()
}

const uploadConfig = `# mine
ingress: [ing0]
egress:
  provider: # the one I pay for
    openvpn:
      profile: first.ovpn # from March
probe: {targets: [192.0.2.10], hold_down: 2s}
page: {}
`

// TestPageUpload: a profile that is uploaded carries the next packet; one with a wrong password
// changes nothing.
func TestPageUpload(t *testing.T) {
	t.Parallel()
	customer := lab.Credentials{User: "alice", Password: "correct horse"}
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{}, {Credentials: &customer}}})
	b := newBox(t, top.Box)
	b.write("first.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", uploadConfig)
	b.serveImports()
	b.start()
	password := strings.TrimSpace(b.mustRun("page", "password"))
	b.awaitEgress("provider")
	leaks, err := top.WatchLeaks()
	must(t, err)
	leavesBy := func(want netip.Addr) {
		t.Helper()
		s, err := lab.StartStream(lab.StreamConfig{From: top.Client, Kind: lab.UDP,
			To: targetOf(lab.ClientTarget4), Rate: 50, Marker: top.Marker})
		must(t, err)
		defer s.Stop()
		await(t, "an answer", func() bool { return len(s.Report().Egresses()) > 0 })
		for got := range s.Report().Egresses() {
			if got != want {
				t.Errorf("the Internet saw %v, want %v", got, want)
			}
		}
	}
	leavesBy(top.Providers[0].Public4[0])
	file := filepath.Join(t.TempDir(), "second.ovpn")
	must(t, os.WriteFile(file, []byte(top.Providers[1].Config()), 0o600))

	browser := browsertest.New(t, browsertest.Options{
		Elsewhere: map[string]string{"10.77.0.1:80": relay(t, top.Client, "10.77.0.1:80")}})
	browser.Login("http://10.77.0.1", password)
	upload := func(user, password string) {
		browser.Open("http://10.77.0.1/profile")
		browser.Choose("#file", file)
		browser.WaitFor(`(document.querySelector("#username").value = "") === ""`)
		browser.Type("#username", user)
		browser.Type("#password", password+"\n")
	}
	upload("alice", "battery staple")
	browser.WaitFor(`document.querySelector("#fault").textContent.includes("rejected the user name")`)
	if text, err := os.ReadFile(filepath.Join(b.dir, "ztbridge.yaml")); err != nil ||
		string(text) != uploadConfig {
		t.Errorf("a wrong password changed the configuration: %v\n%s", err, text)
	}
	leavesBy(top.Providers[0].Public4[0])

	upload("alice", "correct horse")
	browser.WaitFor(`document.querySelector("#apply")`)
	browser.Click("#apply")
	browser.WaitFor(`document.querySelector("#done").textContent.includes("Provider is up")`)
	leavesBy(top.Providers[1].Public4[0])
	text, err := os.ReadFile(filepath.Join(b.dir, "ztbridge.yaml"))
	must(t, err)
	for _, want := range []string{"# mine\n", "provider: # the one I pay for\n",
		"/second.ovpn # from March\n", "credentials: profiles/provider-"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the configuration has no %q:\n%s", want, text)
		}
	}
	actions, err := os.ReadFile(filepath.Join(b.dir, "state/page/audit.log"))
	must(t, err)
	for where, text := range map[string]string{"the daemon's log": b.daemon.Log(),
		"the page's log": string(actions)} {
		if strings.Contains(text, customer.Password) || strings.Contains(text, "staple") {
			t.Errorf("%s holds a password", where)
		}
	}
	noLeak(t, leaks)
}
