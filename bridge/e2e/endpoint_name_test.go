package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

// TestEndpointByName: the endpoint has a name, and the clients reach their resolver by the tunnel
// only, once it is up. After the box was away for so long that a client has tried all its ways, it
// comes back nevertheless.
func TestEndpointByName(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	top.Zone.Set("vm.internet.lab", lab.BoxWAN4)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", strings.Replace(duoConfig, "198.51.100.2", "vm.internet.lab", 1))
	b.start()
	b.awaitEgress("provider")
	phone := newRoamer(t, top, b, "phone")
	stream := clientStream(t, top, phone.ns)
	awaitAnswers(t, stream, 20)
	b.stop()
	await(t, "the phone to have tried all ways twice", func() bool {
		_, after, _ := strings.Cut(phone.proc.Log(), "Initialization Sequence Completed")
		return strings.Count(after, "Restart pause") >= 4
	})
	b.start()
	awaitAnswers(t, stream, 50)
	onlySeenAs(t, "the phone", stream, top.Providers[0].Public4[0])
}

// TestEndpointMoves: another box that has been running with keys of its own takes the place of the
// first, with the first one's keys. A client connects to it by the same profile, and has the same
// address there.
func TestEndpointMoves(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	top.Zone.Set("vm.internet.lab", lab.BoxWAN4)
	site, err := top.AddSite("second")
	must(t, err)
	first, second := newBox(t, top.Box), newBox(t, site.NS)
	for _, b := range []*box{first, second} {
		b.write("provider.ovpn", top.Providers[0].Config())
		b.write("ztbridge.yaml", strings.Replace(duoConfig, "198.51.100.2", "vm.internet.lab", 1))
		b.start()
		b.awaitEgress("provider")
	}
	phone := newRoamer(t, top, first, "phone")
	client := func(st api.Status) bool {
		return len(st.Clients) == 1 &&
			st.Clients[0].Name == "phone"
	}
	before := first.await("the phone", client).Clients[0].Addresses

	first.write("passphrase", "correct horse battery staple\n")
	backup := first.mustRun("client", "export-ca", "--passphrase-file",
		filepath.Join(first.dir, "passphrase"))
	first.stop()
	second.write("backup.age", backup)
	second.write("passphrase", "correct horse battery staple\n")
	second.mustRun("client", "import-ca", filepath.Join(second.dir, "backup.age"), "--replace",
		"--passphrase-file", filepath.Join(second.dir, "passphrase"))
	top.Zone.Set("vm.internet.lab", site.Addr4)

	phone.proc.Stop() // it has looked the name up
	phone.start(phone.profile)
	phone.awaitReady()
	after := second.await("the phone", client).Clients[0].Addresses
	if !slices.Equal(before, after) {
		t.Errorf("the phone has the addresses %v, and had %v", after, before)
	}
	stream := clientStream(t, top, phone.ns)
	awaitAnswers(t, stream, 20)
	onlySeenAs(t, "the phone", stream, top.Providers[0].Public4[0])
	second.mustRun("client", "revoke", "phone")
	second.await("the end of a revoked session",
		func(st api.Status) bool { return len(st.Clients) == 0 })
}

// newRoamer makes a guest with the profile as it is printed, and waits until it has connected.
func newRoamer(t *testing.T, top *lab.Topology, b *box, name string) *guest {
	t.Helper()
	site, err := top.AddSite(name)
	must(t, err)
	g := &guest{t: t, name: name, ns: site.NS}
	b.mustRun("client", "add", name)
	g.start(b.mustRun("client", "show", name))
	g.awaitReady()
	return g
}
