package build

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/image/build/deb"
	"ztbridge/policyroute/netlab"
)

// What a cloud offers to a machine, in the rig: our package by https, Debian's archive, Oracle's
// metadata service.

const packagesHost = "packages.lab"

// serve answers HTTP in a host of the lab until the test ends.
func serve(t *testing.T, ns *netlab.Namespace, address string, config *tls.Config,
	handler http.Handler) {
	t.Helper()
	l, err := ns.Listen("tcp", address)
	must(t, err)
	if config != nil {
		l = tls.NewListener(l, config)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }() // it ends by Close
	t.Cleanup(func() { _ = server.Close(); <-done })
}

// servePackage offers our package, made from this checkout, and returns its address and sum.
func (r *rig) servePackage(authority tls.Certificate) (address, sum string) {
	r.t.Helper()
	file, err := deb.Build(r.t.Context(), deb.Options{Source: "../..", Arch: "amd64", Version: "0.0.0",
		Date: time.Unix(1767225600, 0).UTC(), Out: r.t.TempDir()})
	must(r.t, err)
	content, err := os.ReadFile(file)
	must(r.t, err)
	r.lab.Zone.Set(packagesHost, lab.HostTarget4)
	config := &tls.Config{Certificates: []tls.Certificate{issue(r.t, authority, packagesHost)}}
	serve(r.t, r.lab.Internet, lab.HostTarget4.String()+":443", config,
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(content)
		}))
	return "https://" + packagesHost + "/" + filepath.Base(file),
		fmt.Sprintf("%x", sha256.Sum256(content))
}

// issue makes a certificate for a host.
func issue(t *testing.T, authority tls.Certificate, host string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()),
		DNSNames:  []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(
			12 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Leaf, &key.PublicKey,
		authority.PrivateKey)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serveDebian lets the lab's Internet reach Debian's archive by this machine's own connection. apt
// in the guest checks the archive's signatures as everywhere.
func (r *rig) serveDebian() {
	r.t.Helper()
	const name = "deb.debian.org"
	r.lab.Zone.Set(name, lab.HostTarget4)
	archive := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: name})
	serve(r.t, r.lab.Internet, lab.HostTarget4.String()+":80", nil,
		http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.Host = name
			archive.ServeHTTP(w, req)
		}))
}

// serveOracle is the network of a machine at Oracle's: an address by DHCP, and the metadata service
// behind the router.
func (r *rig) serveOracle(userData []byte) {
	r.t.Helper()
	router := r.lab.WANSegment.NS
	stop, err := lab.ServeDHCP(router, r.lab.WANSegment.Bridge,
		lab.Lease{Addr: netip.PrefixFrom(lab.BoxWAN4, lab.WANNet4.Bits()),
			Router: lab.WANNet4.Addr().Next(), Resolver: lab.ResolverAddr})
	must(r.t, err)
	r.t.Cleanup(func() { _ = stop() })
	must(r.t, router.IP("addr add 169.254.169.254/32 dev lo"))
	answers := map[string]any{
		"/opc/v2/instance/": map[string]any{"id": "ocid1.instance.oc1.lab", "hostname": "box",
			"displayName": "box", "ociAdName": "lab-AD-1",
			"region": "lab", "shape": "VM.Standard.E2.1.Micro",
			"metadata": map[string]string{"ssh_authorized_keys": r.publicKey(),
				"user_data": base64.StdEncoding.EncodeToString(userData)}},
		"/opc/v2/vnics/": []map[string]any{{"macAddr": wanMAC, "privateIp": lab.BoxWAN4.String(),
			"subnetCidrBlock": lab.WANNet4.String(),
			"virtualRouterIp": lab.WANNet4.Addr().Next().String(), "vlanTag": 0,
			"vnicId": "ocid1.vnic.oc1.lab"}},
	}
	serve(r.t, router, "169.254.169.254:80", nil,
		http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			answer, ok := answers[req.URL.Path]
			switch {
			case req.Header.Get("Authorization") != "Bearer Oracle":
				w.WriteHeader(http.StatusForbidden)
			case !ok:
				w.WriteHeader(http.StatusNotFound)
			default:
				_ = json.NewEncoder(w).Encode(answer)
			}
		}))
	r.machine.Extra = append(r.machine.Extra, "-smbios", "type=3,asset=OracleCloud.com")
}

// userData is written by the program that people use, from the files that they have.
func (r *rig) userData(address, sum string) []byte {
	r.t.Helper()
	dir := r.t.TempDir()
	files := map[string]string{"ztbridge.yaml": jobConfig,
		"provider.ovpn": r.lab.Providers[0].Config(), "provider.auth": customer.User + "\n" +
			customer.Password + "\n"}
	for name, content := range files {
		must(r.t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	out := filepath.Join(dir, "user-data")
	cmd := exec.Command("go", "run", "./cmd/ztbridge-image", "user-data", "--config",
		filepath.Join(dir, "ztbridge.yaml"),
		"--package-url", address, "--package-sha256", sum, "--without-zerotier", "-o", out)
	cmd.Dir = "../.."
	if said, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("ztbridge-image user-data: %v: %s", err, said)
	}
	text, err := os.ReadFile(out)
	must(r.t, err)
	return text
}

// seed attaches what NoCloud reads: the user-data and the network of the rig.
func (r *rig) seed(userData []byte) {
	r.t.Helper()
	network := fmt.Sprintf(`version: 2
ethernets:
  wan:
    match: {macaddress: %q}
    addresses: [%s/24, "%s/64"]
    routes: [{to: 0.0.0.0/0, via: 198.51.100.1}, {to: "::/0", via: "2001:db8:b0::1"}]
    nameservers: {addresses: [%s]}
  clients:
    match: {macaddress: %q}
    addresses: [10.77.0.1/24, "fd77::1/64"]
`, wanMAC, lab.BoxWAN4, lab.BoxWAN6, lab.ResolverAddr, ingressMAC)
	key, err := json.Marshal([]string{r.publicKey()})
	must(r.t, err)
	f := fat{label: "CIDATA", serial: 1, size: 128 * mib, when: time.Unix(1767225600, 0),
		files: map[string][]byte{
			"meta-data": fmt.Appendf(nil,
				"instance-id: lab-1\nlocal-hostname: box\npublic-keys: %s\n",
				key), "network-config": []byte(network), "user-data": userData}}
	file := filepath.Join(r.t.TempDir(), "seed.img")
	must(r.t, f.write(r.t.Context(), file))
	r.machine.Extra = append(r.machine.Extra, "-drive", "file="+file+
		",format=raw,if=none,id=seed,readonly=on", "-device", "virtio-blk-pci,drive=seed")
}
