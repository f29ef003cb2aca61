package build

import (
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// The three edits of configs/examples/user-data.yaml.
const (
	exampleNetwork  = "your-16-digit-network-id"
	exampleUser     = "your-user-name"
	examplePassword = "your-password"
)

// userDataEdits are what a person pastes in the places of the example.
type userDataEdits struct{ network, profile, user, password string }

// apply edits the example. Empty edits are forgotten.
func (e userDataEdits) apply(text string) string {
	for was, is := range map[string]string{exampleNetwork: e.network, exampleUser: e.user,
		examplePassword: e.password} {
		if is != "" {
			text = strings.ReplaceAll(text, was, is)
		}
	}
	if e.profile != "" {
		text = regexp.MustCompile(`(?m)^ *# 2\..*\n`).ReplaceAllLiteralString(text, e.profile)
	}
	return text
}

// indented is the profile as the example asks for it.
func indented(profile string) string {
	return "      " + strings.ReplaceAll(strings.TrimSpace(profile), "\n", "\n      ") + "\n"
}

// A machine of a cloud with nothing but the example of user-data and its three edits, installing
// from a release's own tree: clients get out by the provider and not otherwise.
func TestCopiedUserData(t *testing.T) {
	r, box, network := cloudContainer(t)
	began := time.Now()
	box.boot(r, userDataEdits{network.ID, indented(r.lab.Providers[0].Config()), customer.User,
		customer.Password})
	said := r.await("ztbridge status | tr -s ' \\n' '  '", "authorise member")
	member := regexp.MustCompile(`authorise member ([0-9a-f]{10})`).FindStringSubmatch(said)
	if member == nil {
		t.Fatalf("the status names no member to be authorised: %s", said)
	}
	must(t, network.Authorise(t.Context(), &ztlab.Node{Address: member[1]}, ztlab.Box4,
		ztlab.Box6))
	r.awaitFlow("the box was authorised")
	t.Logf("a working exit %s after the power was on", time.Since(began).Round(time.Second))
	if out := r.mustSSH("cloud-init status --long"); !strings.Contains(out, "errors: []") {
		t.Errorf("cloud-init met errors:\n%s", out)
	}
	r.finish()
}

// With an edit forgotten or wrong, the console says which, and so does `ztbridge status` wherever
// it could be installed; nothing is forwarded.
func TestCopiedUserDataWithMistakes(t *testing.T) {
	tests := map[string]struct {
		spoil  func(e *userDataEdits)
		say    string // on the console
		status string // empty: it cannot be installed
	}{
		"no network": {func(e *userDataEdits) { e.network = "" }, exampleNetwork, exampleNetwork},
		"no profile": {func(e *userDataEdits) { e.profile = "" }, "provider.ovpn", "provider.ovpn"},
		"another person's password": {func(e *userDataEdits) { e.password = "wrong" },
			"the server rejected the user name", "the server rejected the user name"},
		"no credentials": {func(e *userDataEdits) { e.user, e.password = "", "" },
			"provider.auth", "provider.auth"},
		"a profile that is not indented": {func(e *userDataEdits) {
			e.profile = strings.TrimLeft(e.profile, " ")
			e.profile = strings.ReplaceAll(e.profile, "\n      ", "\n")
		}, "Failed loading yaml", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, box, network := cloudContainer(t)
			edits := userDataEdits{network.ID, indented(r.lab.Providers[0].Config()),
				customer.User, customer.Password}
			tt.spoil(&edits)
			box.boot(r, edits)
			box.awaitConsole(tt.say)
			if tt.status != "" {
				r.await("ztbridge status 2>&1 | tr -s ' \\n' '  '", tt.status)
				r.await("nft list table inet ztb", "drop")
			}
			for name, s := range r.streams {
				if _, answered, _ := s.Counts(); answered > 0 {
					t.Errorf("%d of %s were answered", answered, name)
				}
			}
			r.finish()
		})
	}
}

// boot starts the container with the edited example as its user-data.
func (c *container) boot(r *rig, edits userDataEdits) {
	c.t.Helper()
	c.put("var/lib/cloud/seed/nocloud/user-data", edits.apply(c.userData), 0o600)
	c.put("var/lib/cloud/seed/nocloud/meta-data", "instance-id: lab-1\nlocal-hostname: box\n",
		0o644)
	r.startStreams()
	c.start(r.lab.Box)
}

// awaitConsole waits until the console shows a text, however its lines are broken.
func (c *container) awaitConsole(text string) {
	c.t.Helper()
	shows := func() bool {
		return strings.Contains(strings.Join(strings.Fields(c.said()), " "), text)
	}
	for deadline := time.Now().Add(bootTimeout); !shows(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("the console does not show %q:\n%s", text, c.said())
		}
	}
}

// cloudContainer is a container of Debian's cloud image, with a client behind a network of
// ZeroTier's, and an Internet that has Debian's archive, ZeroTier's repository and our release.
func cloudContainer(t *testing.T) (*rig, *container, *ztlab.Network) {
	t.Helper()
	netlab.Require(t, netlab.ZeroTier)
	dir := os.Getenv("ZTBRIDGE_IMAGE_TEST")
	archive, tree := filepath.Join(dir, "stock.tar"), filepath.Join(dir, "dist")
	for _, file := range []string{archive, tree} {
		if _, err := os.Stat(file); dir == "" || err != nil {
			t.Skip("SKIPPED: there is no stock.tar or dist in the folder ZTBRIDGE_IMAGE_TEST; " +
				"`make image-test` makes them")
		}
	}
	need(t, "reprepro", "gpg")
	r, box := containerRig(t, archive, lab.Options{RemoteClient: true})
	network, client := r.joinMembers(t.Context())
	must(t, run(t.Context(), nil, "install", "-D", filepath.Join(client.Home, "planet"),
		filepath.Join(box.dir, "var/lib/zerotier-one/planet")))
	// The lab's addresses are there already, so that networkd has nothing to configure and its
	// service would wait for minutes. Nothing but the seed is asked for.
	must(t, os.Symlink("/dev/null", filepath.Join(box.dir,
		"etc/systemd/system/systemd-networkd-wait-online.service")))
	box.put("etc/cloud/cloud.cfg.d/99-lab.cfg",
		"network: {config: disabled}\ndatasource_list: [NoCloud, None]\n", 0o644)
	r.serveRepositories(box, dir, tree)
	return r, box, network
}

// serveRepositories offers what the example installs from, by https. Nobody but its vendor can sign
// as ZeroTier does: the example's fingerprint becomes that of the lab's key.
func (r *rig) serveRepositories(box *container, dir, tree string) {
	r.t.Helper()
	r.serveDebian()
	authority, err := tls.LoadX509KeyPair(filepath.Join(dir, "stock-ca.pem"),
		filepath.Join(dir, "stock-ca.key"))
	must(r.t, err)
	vendor, fingerprint := r.vendorRepository()
	var certificates []tls.Certificate
	mux := http.NewServeMux()
	for host, folder := range map[string]string{"ztbridge.example.org": tree,
		"download.zerotier.com": vendor} {
		r.lab.Zone.Set(host, lab.HostTarget4)
		certificates = append(certificates, issue(r.t, authority, host))
		mux.Handle(host+"/", http.FileServer(http.Dir(folder)))
	}
	serve(r.t, r.lab.Internet, lab.HostTarget4.String()+":443",
		&tls.Config{Certificates: certificates}, mux)
	text, err := os.ReadFile(filepath.Join(tree, "user-data.yaml"))
	must(r.t, err)
	box.userData = strings.ReplaceAll(string(text), "74A5E9C458E1A431F1DA57A71657198823E52A61",
		fingerprint)
}

// vendorRepository is an apt repository, as ZeroTier's is, of this machine's zerotier-one.
func (r *rig) vendorRepository() (folder, fingerprint string) {
	r.t.Helper()
	folder = r.t.TempDir()
	home, conf := filepath.Join(r.t.TempDir(), "gpg"), filepath.Join(r.t.TempDir(), "conf")
	must(r.t, os.MkdirAll(home, 0o700))
	must(r.t, os.MkdirAll(conf, 0o755))
	gpg := func(args ...string) string {
		cmd := exec.Command("gpg", append([]string{"--batch", "--homedir", home}, args...)...)
		out, err := cmd.Output()
		must(r.t, err)
		return string(out)
	}
	gpg("--passphrase", "", "--quick-gen-key", "vendor@lab", "ed25519", "sign", "1d")
	r.t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	fingerprint = regexp.MustCompile(`(?m)^fpr:+([0-9A-F]{40}):`).FindStringSubmatch(
		gpg("--list-keys", "--with-colons"))[1]
	must(r.t, os.WriteFile(filepath.Join(folder, "contact@zerotier.com.gpg"),
		[]byte(gpg("--armor", "--export")), 0o644))
	must(r.t, os.WriteFile(filepath.Join(conf, "distributions"), []byte("Codename: trixie\n"+
		"Architectures: amd64\nComponents: main\nSignWith: "+fingerprint+"\n"), 0o644))
	file := filepath.Join(conf, "zerotier-one_1.14.1_amd64.deb")
	must(r.t, run(r.t.Context(), nil, "../../scripts/zerotier-deb.sh", file))
	must(r.t, run(r.t.Context(), nil, "reprepro", "--silent", "--gnupghome", home, "--confdir", conf,
		"--dbdir", filepath.Join(conf, "db"), "--outdir", filepath.Join(folder, "debian/trixie"),
		"--section", "net", "--priority", "optional", "includedeb", "trixie", file))
	return folder, fingerprint
}
