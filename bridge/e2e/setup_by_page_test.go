package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/bridge/web/browsertest"
)

// TestSetUpByThePage leads a box that nobody has brought a configuration, as an image begins with,
// through its page on the LAN: the first password, the network, the provider's profile. It ends
// with a member's connections leaving by the provider, and nothing of a member's in the open
// before.
func TestSetUpByThePage(t *testing.T) {
	t.Parallel()
	customer := lab.Credentials{User: "alice", Password: "correct horse"}
	m := newMesh(t, lab.Options{RemoteClient: true,
		Providers: []lab.ProviderOptions{{Credentials: &customer}}}, ztlab.NetworkConfig{})
	top, provider := m.lab, m.lab.Providers[0]
	must(t, top.Router.IP("address add 192.168.7.1/24 dev wan"))
	must(t, top.Box.IP("address add 192.168.7.2/24 dev "+lab.WANIface,
		"route replace default via 192.168.7.1",
		"address del "+lab.BoxWAN4.String()+"/24 dev "+lab.WANIface))
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	b := newBox(t, top.Box)
	b.write("ztbridge.yaml", "# begun\npage: {serve: lan} # here\nzerotier:\n  home: "+node.Home+
		"\nprobe: {targets: [192.0.2.10], hold_down: 2s}\n")
	code := strings.TrimSpace(b.mustRun("page", "code", "--open"))
	b.serveImports()
	b.start()
	leaks, err := top.WatchLeaks()
	must(t, err)

	const page = "http://192.168.7.2"
	browser := browsertest.New(t, browsertest.Options{
		Elsewhere: map[string]string{"192.168.7.2:80": relay(t, top.Router, "192.168.7.2:80")}})
	await(t, "the page for a neighbour", func() bool {
		code, err := askPage(top.Router, "192.168.7.2")
		return err == nil && code == 200
	})
	const password = "nine tall giraffes"
	browser.Open(page)
	browser.Type("#password", password)
	browser.Type("#again", password+"\n")
	browser.WaitFor(`document.querySelector("#step-network.is-info")`)
	browser.Type("#id", m.network.ID+"\n")
	browser.WaitFor(`document.querySelector("#step-network.is-good").textContent.includes("` +
		ztlab.Box4.String() + `")`)
	client := m.joinAsClient(m.node(top.Client, ztlab.Client4, ztlab.Client6))
	// The member sends all along; without an exit nothing may leave, and nothing is answered.
	var streams []*lab.Stream
	for _, target := range []netip.Addr{lab.ClientTarget4, lab.ClientTarget6} {
		s, err := lab.StartStream(lab.StreamConfig{From: top.Client, Kind: lab.UDP, Rate: 20,
			To: netip.AddrPortFrom(target, lab.EchoPort), Marker: lab.NewMarker()})
		must(t, err)
		defer s.Stop()
		await(t, "the member to send in the closed phase", func() bool {
			sent, _, _ := s.Counts()
			return sent >= 20
		})
		if _, received, _ := s.Counts(); received > 0 {
			t.Errorf("%d answers came from %s before the box has an exit", received, target)
		}
		streams = append(streams, s)
	}

	file := filepath.Join(t.TempDir(), "mine.ovpn")
	must(t, os.WriteFile(file, []byte(provider.Config()), 0o600))
	browser.Click("#to-profile")
	browser.WaitFor(`document.querySelector("#name").value === "provider"`)
	browser.Choose("#file", file)
	browser.Type("#username", customer.User)
	browser.Type("#password", customer.Password+"\n")
	browser.WaitFor(`document.querySelector("#apply")`)
	browser.Click("#apply")
	browser.WaitFor(`document.querySelector("#done").textContent.includes("Provider is up")`)
	browser.Open(page + "/setup")
	browser.WaitFor(`document.querySelector("#step-profile.is-good")`)
	browser.WaitFor(`!document.querySelector("#step-traffic.is-info")`)
	for _, s := range streams {
		await(t, "answers by the provider", func() bool {
			_, received, _ := s.Counts()
			return received > 0
		})
		s.Stop()
	}
	for _, a := range client.Addrs {
		target, want := lab.ClientTarget4, provider.Public4[0]
		if a.Addr().Is6() {
			target, want = lab.ClientTarget6, provider.Public6[0]
		}
		if got := seenFrom(t, top.Client, a.Addr(), target); got != want {
			t.Errorf("%s is seen from %s, want %s", a, got, want)
		}
	}

	text, err := os.ReadFile(filepath.Join(b.dir, "ztbridge.yaml"))
	must(t, err)
	if !strings.HasPrefix(string(text), "# begun\npage: {serve: lan} # here\n") {
		t.Errorf("the configuration's own lines are gone:\n%s", text)
	}
	if out, err := b.run("page", "code"); err == nil {
		t.Errorf("the code is not spent: %s", out)
	}
	actions, err := os.ReadFile(filepath.Join(b.dir, "state/page/audit.log"))
	must(t, err)
	for _, want := range []string{`"claim this box"`, "join the network"} {
		if !strings.Contains(string(actions), want) {
			t.Errorf("the log of actions has no %s:\n%s", want, actions)
		}
	}
	for _, secret := range []string{code, strings.ReplaceAll(code, "-", ""), password,
		customer.Password} {
		if strings.Contains(b.daemon.Log()+string(actions)+string(text), secret) {
			t.Errorf("a log or the configuration holds %q", secret)
		}
	}
	noLeak(t, leaks)
}
