package build

import (
	"context"
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// The main job with real ZeroTier: the client's only link to the box is a network of the lab's own
// planet, and the box runs zerotier-one.
//
//	             root: planet and controller
//	               │
//	client ── zt ──┴── zt ── guest ── tunztb-provider ── provider ── internet
//
// The box makes its identity itself, and says on the console whom to authorise. The one thing that
// it does not have from its FAT partition is the lab's planet, which comes by the machine's
// firmware tables: users have the public one.
func TestGuestDoesItsJobOverZeroTier(t *testing.T) {
	netlab.Require(t, netlab.ZeroTier)
	r := newRig(t, builtImage(t, "cloud-amd64-zerotier"), lab.Options{RemoteClient: true})
	ctx, cancel := context.WithTimeout(t.Context(), 3*bootTimeout)
	t.Cleanup(cancel)
	network, client := r.joinMembers(ctx)
	r.givePlanet(client)
	r.provisionJob("zerotier:\n  networks: [" + network.ID +
		"]\negress:\n  provider: {openvpn: {profile: provider.ovpn, credentials: provider.auth}}\n")
	r.startStreams()
	r.boot()

	member := expect(t, r.guest, spread(`authorise member ([0-9a-f]{10})`))[1]
	must(t, network.Authorise(ctx, &ztlab.Node{Address: member}, ztlab.Box4, ztlab.Box6))
	r.awaitFlow("the box was authorised")
	r.assertHealthy()
	if user := strings.TrimSpace(r.mustSSH(userOf("zerotier-one"))); user != "zerotier-one" {
		t.Errorf("zerotier-one runs as %q", user)
	}

	provider := r.lab.Providers[0]
	provider.Kill()
	r.await("ztbridge status --json", `"state": "closed"`)
	r.awaitSilence("the server's death")
	must(t, provider.Start(ctx))
	r.awaitFlow("the server died and returned")
	r.mustSSH("systemctl restart zerotier-one")
	time.Sleep(2 * time.Second) // until its interface is gone
	r.awaitFlow("zerotier-one was restarted")

	// After a power cut the box has the identity that was authorised.
	r.guest.Kill()
	r.awaitSilence("the power cut")
	r.boot()
	r.awaitFlow("a power cut")
	r.await("ztbridge status", member)
	_, _ = r.ssh("systemctl poweroff")
	must(t, r.guest.Wait(bootTimeout))
	time.Sleep(time.Second)
	r.finish()
}

// jobNetwork is a network whose members leave by the box.
var jobNetwork = ztlab.NetworkConfig{Name: "job", Routes: []ztlab.ManagedRoute{
	{Target: ztlab.Net4}, {Target: ztlab.Net6},
	{Target: netip.MustParsePrefix("0.0.0.0/0"), Via: ztlab.Box4},
	{Target: netip.MustParsePrefix("::/0"), Via: ztlab.Box6},
}}

// joinMembers makes jobNetwork and the client a member of it, whose addresses the watch for leaks
// then knows as well.
func (r *rig) joinMembers(ctx context.Context) (*ztlab.Network, *ztlab.Node) {
	r.t.Helper()
	planet, err := ztlab.New(ctx, r.lab)
	must(r.t, err)
	network, err := planet.NewNetwork(ctx, jobNetwork)
	must(r.t, err)
	client := r.joinClient(ctx, planet, network)
	r.lab.ClientPrefixes = append(r.lab.ClientPrefixes, ztlab.Net4, ztlab.Net6)
	must(r.t, r.leaks.Stop())
	r.leaks, err = r.lab.WatchLeaks()
	must(r.t, err)
	return network, client
}

// givePlanet has a guest know the lab's planet, by the machine's firmware tables.
func (r *rig) givePlanet(client *ztlab.Node) {
	r.t.Helper()
	file, err := os.ReadFile(filepath.Join(client.Home, "planet"))
	must(r.t, err)
	r.machine.Extra = append(r.machine.Extra, credential("tmpfiles.extra",
		"f~ /var/lib/zerotier-one/planet 0644 root root - "+
			base64.StdEncoding.EncodeToString(file)+"\n")...)
}

// joinClient makes the client a member of the network, whose default routes then lead to the box.
func (r *rig) joinClient(ctx context.Context, planet *ztlab.Planet,
	network *ztlab.Network) *ztlab.Node {
	r.t.Helper()
	client, err := planet.Node(ctx, r.lab.Client)
	must(r.t, err)
	must(r.t, network.Authorise(ctx, client, ztlab.Client4, ztlab.Client6))
	must(r.t, client.Start(ctx))
	must(r.t, client.Join(ctx, network.ID, false))
	membership, err := client.AwaitMembership(ctx, network.ID)
	must(r.t, err)
	var routes []string
	for _, half := range []string{"0.0.0.0/1", "128.0.0.0/1"} {
		routes = append(routes, "route replace "+half+" via "+ztlab.Box4.String()+" dev "+
			membership.Iface)
	}
	for _, half := range []string{"::/1", "8000::/1"} {
		routes = append(routes, "route replace "+half+" via "+ztlab.Box6.String()+" dev "+
			membership.Iface)
	}
	// The wider route goes: while a gateway does not answer, Linux takes another one for IPv6, even
	// one that fits less.
	must(r.t, r.lab.Client.IP(append(routes, "route del ::/0")...))
	return client
}

// userOf prints whom a program runs as.
func userOf(program string) string {
	return `for p in /proc/[0-9]*; do read c < $p/comm && [ "$c" = ` + program +
		` ] && stat -c %U $p; done 2>/dev/null | head -n 1`
}

// credential hands a text to systemd by the machine's firmware tables.
func credential(name, text string) []string {
	return []string{"-smbios", "type=11,value=io.systemd.credential.binary:" + name + "=" +
		base64.StdEncoding.EncodeToString([]byte(text))}
}
