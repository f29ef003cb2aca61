package build

import (
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/bridge/web/browsertest"
	"ztbridge/policyroute/netlab"
)

// A card as it is flashed, with nothing on it but a key to look into the box by: it takes an
// address on the LAN, its page leads from the first password over the network to the provider's
// profile, and then a member of the network leaves by the provider. From power on nothing of the
// member's leaves in the open.
func TestGuestIsSetUpByItsPage(t *testing.T) {
	netlab.Require(t, netlab.ZeroTier)
	r := newRig(t, builtImage(t, "cloud-amd64-zerotier"), lab.Options{RemoteClient: true})
	network, client := r.joinMembers(t.Context())
	r.givePlanet(client)
	page := r.joinLAN()
	put(t, r.disk, map[string]string{"authorized_keys": r.publicKey()})
	r.startStreams()
	r.boot()
	t.Cleanup(func() {
		if t.Failed() && !r.ended() {
			log, _ := r.ssh("journalctl --no-pager -b -n 200 -u 'ztbridge*'")
			t.Logf("the box's log:\n%s", log)
		}
	})

	r.awaitPage(page)
	address, stop, err := lab.Relay(r.lab.WANSegment.NS, page.String()+":80")
	must(t, err)
	t.Cleanup(stop)
	browser := browsertest.New(t, browsertest.Options{Timeout: 3 * bootTimeout,
		Elsewhere: map[string]string{page.String() + ":80": address}})
	const password = "nine tall giraffes"
	browser.Open("http://" + page.String())
	browser.Type("#password", password)
	browser.Type("#again", password+"\n")
	browser.WaitFor(`document.querySelector("#step-network.is-info")`)
	browser.Type("#id", network.ID+"\n")
	browser.WaitFor(`document.querySelector("#step-network.is-warn").textContent.` +
		`includes("Authorise this box")`)
	member := regexp.MustCompile(`this box, ([0-9a-f]{10})`).FindStringSubmatch(
		browser.Text("#step-network"))
	if member == nil {
		t.Fatalf("the page names no member to be authorised: %s", browser.Text("#step-network"))
	}
	must(t, network.Authorise(t.Context(), &ztlab.Node{Address: member[1]}, ztlab.Box4,
		ztlab.Box6))
	browser.WaitFor(`document.querySelector("#step-network.is-good")`)
	for name, s := range r.streams {
		if _, answered, _ := s.Counts(); answered > 0 {
			t.Errorf("%d of %s were answered by a box without a profile", answered, name)
		}
	}

	file := filepath.Join(t.TempDir(), "mine.ovpn")
	must(t, os.WriteFile(file, []byte(r.lab.Providers[0].Config()), 0o600))
	browser.Click("#to-profile")
	browser.WaitFor(`document.querySelector("#name").value === "provider"`)
	browser.Choose("#file", file)
	browser.Type("#username", customer.User)
	browser.Type("#password", customer.Password+"\n")
	browser.WaitFor(`document.querySelector("#apply")`)
	browser.Click("#apply")
	r.awaitFlow("the set-up by the page")
	browser.Open("http://" + page.String() + "/setup")
	browser.WaitFor(`document.querySelector("#step-profile.is-good")`)
	r.guest.Kill()
	r.finish()
}

// joinLAN makes the box's uplink the LAN of a home, where the person is, and returns the box's
// address there.
func (r *rig) joinLAN() netip.Addr {
	r.t.Helper()
	router, box := netip.MustParseAddr("192.168.7.1"), netip.MustParseAddr("192.168.7.2")
	segment := r.lab.WANSegment
	must(r.t, segment.NS.IP("address add "+router.String()+"/24 dev "+segment.Bridge))
	stop, err := lab.ServeDHCP(segment.NS, segment.Bridge, lab.Lease{
		Addr: netip.PrefixFrom(box, 24), Router: router, Resolver: lab.ResolverAddr})
	must(r.t, err)
	r.t.Cleanup(func() { _ = stop() })
	r.from, r.address = segment.NS, box
	return box
}

// awaitPage waits until a neighbour on the LAN is shown the page.
func (r *rig) awaitPage(address netip.Addr) {
	r.t.Helper()
	client := http.Client{Timeout: 20 * time.Second,
		Transport: &http.Transport{DialContext: r.lab.WANSegment.NS.Dial, DisableKeepAlives: true}}
	for deadline := time.Now().Add(bootTimeout); ; time.Sleep(time.Second) {
		answer, err := client.Get("http://" + address.String() + "/")
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) || r.ended() {
			r.t.Fatalf("waiting for the page: %v\nconsole:\n%s", err, r.console())
		}
	}
}
