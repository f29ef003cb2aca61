package build

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/image/device/update"
)

// updatesHost is in the address that scripts/image-test.sh builds images with.
const updatesHost = "updates.lab"

// With nobody near, a box refuses a stale channel file and says so, takes a newer version, waits
// for its window, restarts into it, and keeps it, all while the client talks.
func TestAutomaticUpdate(t *testing.T) {
	image := builtImage(t, "cloud-amd64")
	r := newRig(t, image, lab.Options{})
	channel, authority := r.serveUpdates(image)
	r.provisionJob(jobConfig + "updates: {channel: stable, window: " +
		windowFrom(time.Now().Add(8*time.Hour)) + "}\n")
	r.startStreams()
	r.boot()
	r.awaitFlow("power on")
	r.mustSSH("echo " + base64.StdEncoding.EncodeToString(authority) +
		" | base64 -d >>/etc/ssl/certs/ca-certificates.crt")

	const step = "systemctl start ztbridge-update.service"
	channel.offer("2", -100*24*time.Hour)
	if out, err := r.ssh(step); err == nil {
		t.Errorf("a channel file that has expired: %s", out)
	}
	r.await("ztbridge status", "the channel file has expired")

	channel.offer("2", -5*24*time.Hour)
	r.mustSSH(step)
	r.await("ztbridge status", "version 2 is installed, and tried at the next restart")
	r.await("ztbridge update status", "the other slot is tried at the next start")

	r.mustSSH("sed -i 's/window: [^}]*/window: " + windowFrom(time.Now().Add(-2*time.Minute)) +
		"/' /etc/ztbridge/ztbridge.yaml")
	_, _ = r.ssh(step) // which ends the session as well
	must(t, r.guest.Wait(bootTimeout))
	r.boot()
	expect(t, r.guest, `daemon up ([0-9.]+) s after the kernel, slot B`)
	r.await("ztbridge update status", "slot B  version 0.0.0  in use\n")
	r.awaitFlow("the update")
	// Whatever problems a slow machine has, by which the command's exit code differs.
	if out := r.await("ztbridge status", "ztbridge 0.0.0"); strings.Contains(out,
		"version 2 is installed") {
		t.Errorf("the status still tells of the update:\n%s", out)
	}
	r.guest.Kill()
	r.finish()
}

// windowFrom is a window of 16 minutes, in the first of which the box restarts.
func windowFrom(from time.Time) string {
	return fmt.Sprintf("%q", from.UTC().Format("15:04")+"-"+
		from.UTC().Add(16*time.Minute).Format("15:04"))
}

// channelServer offers a channel file, and the bundle of the image itself.
type channelServer struct {
	t      *testing.T
	image  string
	mu     sync.Mutex
	answer map[string][]byte
}

// serveUpdates serves a release on the lab's Internet, and returns the certificate, as PEM, of the
// authority that speaks for its host.
func (r *rig) serveUpdates(image string) (*channelServer, []byte) {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(r.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(12 * time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(r.t, err)
	leaf, err := x509.ParseCertificate(der)
	must(r.t, err)
	authority := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}

	s := &channelServer{t: r.t, image: image, answer: map[string][]byte{
		"/updates/2.update": bundleOf(r.t, image, "cloud-amd64", "2")}}
	r.lab.Zone.Set(updatesHost, lab.HostTarget4)
	serve(r.t, r.lab.Internet, lab.HostTarget4.String()+":443",
		&tls.Config{Certificates: []tls.Certificate{issue(r.t, authority, updatesHost)}}, s)
	return s, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// ServeHTTP answers with what is offered now.
func (s *channelServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	text, ok := s.answer[req.URL.Path]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, req)
		return
	}
	_, _ = w.Write(text)
}

// offer publishes a channel file of the given age.
func (s *channelServer) offer(version string, age time.Duration) {
	s.t.Helper()
	created := time.Now().Add(age).UTC()
	text, err := json.Marshal(update.Channel{Name: "stable", Version: version, Created: created,
		Expires: created.AddDate(0, 0, 90), Bundles: map[string]update.ChannelEntry{
			"cloud-amd64": {File: version + ".update"}}})
	must(s.t, err)
	signature, err := update.Sign(text, "a test", testKey(s.t, s.image))
	must(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer["/updates/stable.json"] = text
	s.answer["/updates/stable.json"+update.SignatureSuffix] = signature
}
