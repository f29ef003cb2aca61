package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/bridge/web/browsertest"
)

// TestNetworkSetupByThePage makes a network from the page by HTTPS, in a browser, at the controller
// inside the box's own zerotier-one. That service dies between the plan and its confirmation; the
// next run finishes. A member is let in by the page, leaves by the provider, and is barred again.
// Teardown by the page gives back what the controller held before.
func TestNetworkSetupByThePage(t *testing.T) {
	t.Parallel()
	m := newPlanet(t, lab.Options{RemoteClient: true})
	top, provider := m.lab, m.lab.Providers[0]
	must(t, top.Router.IP("address add 192.168.7.1/24 dev wan"))
	must(t, top.Box.IP("address add 192.168.7.2/24 dev "+lab.WANIface,
		"route replace default via 192.168.7.1",
		"address del "+lab.BoxWAN4.String()+"/24 dev "+lab.WANIface))
	node, client := m.startNode(top.Box), m.startNode(top.Client)
	if !node.HasController(m.ctx) {
		t.Skip("SKIPPED: this zerotier-one has no controller")
	}
	before := controllerState(t, m.ctx, node)
	b := newBox(t, top.Box)
	certificate := b.certify(net.IPv4(192, 168, 7, 2))
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", "# begun\npage: {serve: lan} # here\nzerotier:\n  home: "+node.Home+
		"\nendpoint:\n  address: 192.168.7.2\n  listen: [udp/1194]\n"+
		"  https: {certificate: cert.pem, key: key.pem}\n"+providerConfig)
	b.serveImports()
	b.start()
	password := strings.TrimSpace(b.mustRun("page", "password"))
	browser := browsertest.New(t, browsertest.Options{Trusted: certificate, Allowed: []string{"422"},
		Elsewhere: map[string]string{
			"192.168.7.2:80":  relay(t, top.Router, "192.168.7.2:80"),
			"192.168.7.2:443": relay(t, top.Router, "192.168.7.2:443")}})
	await(t, "the page for a neighbour", func() bool {
		conn, err := top.Router.Dial(m.ctx, "tcp", "192.168.7.2:443")
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	const page = "https://192.168.7.2"
	browser.Login("http://192.168.7.2", password)
	browser.WaitFor(`location.href === "` + page + `/"`)

	browser.Open(page + "/network/setup")
	browser.WaitFor(`document.querySelector("#plan").textContent.includes("route 0.0.0.0/0 via 10.")`)
	if controllerState(t, m.ctx, node) != before {
		t.Error("a plan that was only looked at changed something")
	}
	node.Kill()
	browser.Click("#apply")
	browser.WaitFor(`document.querySelector("#fault").textContent.includes("not running")`)
	must(t, node.Start(m.ctx))
	browser.Open(page + "/network/setup")
	browser.Click("#apply")
	browser.WaitFor(`document.querySelector("#nothing")`)
	ids := networkIDs(t, m.ctx, node)
	if len(ids) != 1 {
		t.Fatalf("networks %v", ids)
	}
	m.network = &ztlab.Network{ID: ids[0]}
	text, err := os.ReadFile(filepath.Join(b.dir, "ztbridge.yaml"))
	must(t, err)
	if !strings.HasPrefix(string(text), "# begun\npage: {serve: lan} # here\n") ||
		!strings.Contains(string(text), ids[0]) {
		t.Errorf("the configuration is:\n%s", text)
	}
	b.await("the box's part in the network", func(st api.Status) bool {
		return len(st.Networks) == 1 && len(st.Networks[0].Addresses) > 0
	})

	must(t, client.Join(m.ctx, ids[0], true))
	letIn := `form[action="/network/authorize"]:has([value="` + client.Address + `"]) button`
	await(t, "the member to ask", func() bool {
		var members map[string]int
		must(t, node.Get(m.ctx, "/controller/network/"+ids[0]+"/member", &members))
		_, asked := members[client.Address]
		return asked
	})
	browser.Open(page + "/network")
	browser.Click(letIn)
	bar := `form[action="/network/deauthorize"]:has([value="` + client.Address + `"]) button`
	browser.See(bar)
	membership := m.joinAsClient(client)
	for _, a := range membership.Addrs {
		target, want := lab.ClientTarget4, provider.Public4[0]
		if a.Addr().Is6() {
			target, want = lab.ClientTarget6, provider.Public6[0]
		}
		if got := seenFrom(t, top.Client, a.Addr(), target); got != want {
			t.Errorf("%s is seen from %s, want %s", a, got, want)
		}
	}
	browser.ClickAndAnswer(bar, true)
	browser.See(letIn)

	browser.Open(page + "/network/teardown")
	browser.WaitFor(`document.querySelector("#plan").textContent.includes("` + ids[0] + `")`)
	browser.Click("#apply")
	browser.WaitFor(`document.body.textContent.includes("is taken back")`)
	if after := controllerState(t, m.ctx, node); after != before {
		t.Errorf("teardown left:\n%s\nbefore:\n%s", after, before)
	}
	if strings.Contains(b.daemon.Log(), password) {
		t.Error("the log holds the password")
	}
}

// certify gives the box a certificate for an address that vouches for itself.
func (b *box) certify(ip net.IP) *x509.Certificate {
	b.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b.t, err)
	of := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{ip},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	must(b.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(b.t, err)
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		b.write(name, string(pem.EncodeToMemory(block)))
	}
	cert, err := x509.ParseCertificate(der)
	must(b.t, err)
	return cert
}
