package build

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// A box is lost, and its backup makes another Debian the same box: a phone that was connected to
// the first comes back by itself and leaves by the provider, and nothing is asked of anybody.
func TestBackupMovesToAnotherBox(t *testing.T) {
	archive := os.Getenv("ZTBRIDGE_ROOT_TAR")
	if archive == "" {
		t.Skip("SKIPPED: needs ZTBRIDGE_ROOT_TAR, the archive of a Debian that ztbridge-image " +
			"build has cached")
	}
	r, lost := containerRig(t, archive, lab.Options{})
	program := packageOf(t, "../..", "1.0.0")
	const passphrase = "nine tall giraffes\n"
	tool(t, "cp", program, filepath.Join(lost.dir, "root/ztbridge.deb"))
	lost.put("root/passphrase", passphrase, 0o600)
	lost.put("etc/ztbridge/ztbridge.yaml", strings.Replace(pageConfig, "tcp/443", "udp/1194", 1),
		0o600)
	lost.put("etc/ztbridge/provider.ovpn", r.lab.Providers[0].Config(), 0o600)
	lost.put("etc/ztbridge/provider.auth", customer.User+"\n"+customer.Password+"\n", 0o600)
	lost.start(r.lab.Box)
	const install = "dpkg -i /root/ztbridge.deb"
	const begin = "systemctl enable --now ztbridge-guard.service ztbridge.service"
	r.mustSSH(install + " && " + begin)
	r.startStreams()
	r.awaitFlow("the installation")
	profile := r.connectPhone()
	r.mustSSH("ztbridge backup --passphrase-file /root/passphrase -o /root/box.age")
	lost.powerOff()

	other := newContainer(t, archive)
	tool(t, "cp", program, filepath.Join(other.dir, "root/ztbridge.deb"))
	tool(t, "cp", filepath.Join(lost.dir, "root/box.age"), filepath.Join(other.dir, "root"))
	other.put("root/passphrase", passphrase, 0o600)
	r.shell = other.run
	other.start(r.lab.Box)
	r.mustSSH(install)
	r.mustSSH("ztbridge restore --passphrase-file /root/passphrase /root/box.age")
	r.mustSSH(begin)
	r.awaitFlow("the move to another box")
	if again := r.mustSSH("ztbridge client show phone"); again != profile {
		t.Errorf("the phone's profile is another one:\n%s", again)
	}
	r.finish()
}

// connectPhone has a phone in a café connect to the endpoint, and be one of the streams. It returns
// the phone's profile.
func (r *rig) connectPhone() string {
	r.t.Helper()
	cafe, err := r.lab.AddCafe()
	must(r.t, err)
	r.mustSSH("ztbridge client add phone")
	profile := r.mustSSH("ztbridge client show phone")
	file := filepath.Join(r.t.TempDir(), "phone.ovpn")
	must(r.t, os.WriteFile(file, []byte(profile), 0o600))
	_, err = cafe.Client.Start(netlab.Command("openvpn", "--config", file, "--ping", "2",
		"--ping-restart", "10"))
	must(r.t, err)
	r.await("ztbridge status", "phone")
	r.streams["phone"], err = lab.StartStream(lab.StreamConfig{From: cafe.Client, Kind: lab.UDP,
		To: netip.AddrPortFrom(lab.ClientTarget4, lab.EchoPort), Rate: 20, Marker: r.lab.Marker})
	must(r.t, err)
	r.awaitFlow("the phone")
	return profile
}
