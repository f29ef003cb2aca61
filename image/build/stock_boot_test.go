package build

import (
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// cloudInitTimeout is for packages that are fetched and installed by an emulated processor.
const cloudInitTimeout = 25 * time.Minute

// stockRig is a rig whose machine runs Debian's own cloud image, as scripts/stock-image.sh makes
// it.
func stockRig(t *testing.T) (*rig, tls.Certificate) {
	t.Helper()
	dir := os.Getenv("ZTBRIDGE_IMAGE_TEST")
	stock := filepath.Join(dir, "stock.ext4")
	if _, err := os.Stat(stock); dir == "" || err != nil {
		t.Skip(
			"SKIPPED: there is no stock.ext4 in the folder ZTBRIDGE_IMAGE_TEST; `make image-test` makes it, or scripts/stock-image.sh FOLDER")
	}
	need(t, "mcopy", "mkfs.vfat")
	authority, err := tls.LoadX509KeyPair(filepath.Join(dir, "stock-ca.pem"),
		filepath.Join(dir, "stock-ca.key"))
	must(t, err)
	r := emptyRig(t, lab.Options{})
	r.login = "debian"
	r.machine.Disk = filepath.Join(t.TempDir(), "stock.ext4")
	if out, err := exec.Command("cp", "--sparse=always", stock,
		r.machine.Disk).CombinedOutput(); err != nil {
		t.Fatalf("copying the stock image: %s", out)
	}
	r.machine.Memory = 1024 // of the smallest machine that Oracle gives away
	r.machine.Extra = append(r.machine.Extra, "-kernel", filepath.Join(dir, "stock.vmlinuz"),
		"-initrd", filepath.Join(dir, "stock.initrd"),
		"-append", "root=LABEL=stock ro console=ttyS0,115200 cryptomgr.notests")
	return r, authority
}

// secondCard is what the owner of a machine does whose cloud configures the first card alone. It is
// a unit given by the machine's firmware, so that nothing in the image is touched. It waits for
// cloud-init, which asks for an address on a card that is up rather than on one that is not yet.
const secondCard = `[Unit]
DefaultDependencies=no
After=network-online.target
Wants=network-online.target
[Service]
Type=oneshot
ExecStart=/bin/sh -ec 'ip addr add 10.77.0.1/24 dev enp0s17; ip addr add fd77::1/64 dev enp0s17 nodad; ip addr add 2001:db8:b0::2/64 dev enp0s16 nodad; ip link set enp0s17 up'
`

func (r *rig) addSecondCard() {
	for name, text := range map[string]string{"systemd.extra-unit.second-card.service": secondCard,
		"systemd.unit-dropin.multi-user.target": "[Unit]\nWants=second-card.service\n"} {
		r.machine.Extra = append(r.machine.Extra, credential(name, text)...)
	}
}

// A stock image with nothing but our user-data does the main job: from before its first start, when
// it is no box yet, over the installation and a restart, until after it is off, not one packet of
// the client's leaves in the open. The image's own firewall, which refuses what is forwarded, stays
// in force and stays without effect on the job.
func TestStockImageDoesTheJob(t *testing.T) {
	tests := []struct {
		name  string
		offer func(r *rig, userData []byte)
	}{
		{"NoCloud", func(r *rig, userData []byte) { r.seed(userData) }},
		{"Oracle", func(r *rig, userData []byte) { r.serveOracle(userData); r.addSecondCard() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, authority := stockRig(t)
			r.serveDebian()
			userData := r.userData(r.servePackage(authority))
			t.Logf("%d bytes of user-data", len(userData))
			tt.offer(r, userData)
			r.startStreams()
			began := time.Now()
			r.boot()
			match, err := r.guest.Expect(
				`Cloud-init v. \S+ finished at [^\r\n]*Up ([0-9.]+) seconds`, cloudInitTimeout)
			must(t, err)
			t.Logf("cloud-init finished %s s after the kernel, %s after the power was on", match[1],
				time.Since(began).Round(time.Second))
			r.awaitFlow("the installation")
			r.assertStock(tt.name)

			r.mustSSH("sudo systemctl restart netfilter-persistent")
			r.awaitFlow("the image's firewall was loaded again")
			r.assertFirewall()

			_, _ = r.ssh("sudo systemctl reboot") // which ends the session as well
			must(t, r.guest.Wait(bootTimeout))
			r.boot()
			r.awaitFlow("a restart")
			r.assertFirewall()

			_, _ = r.ssh("sudo systemctl poweroff")
			must(t, r.guest.Wait(bootTimeout))
			time.Sleep(time.Second) // what is under way arrives
			r.finish()
		})
	}
}

// assertStock looks at the machine as its owner would.
func (r *rig) assertStock(source string) {
	r.t.Helper()
	status := r.await("cloud-init status --long", "status: done")
	if !strings.Contains(status, "DataSource"+source) &&
		!strings.Contains(strings.ToLower(status), strings.ToLower(source)) {
		r.t.Errorf("cloud-init did not get its data from %s:\n%s", source, status)
	}
	if !regexp.MustCompile(`(?m)^errors: \[\]`).MatchString(status) {
		r.t.Errorf("cloud-init met errors:\n%s\n%s", status,
			r.mustSSH("sudo tail -n 40 /var/log/cloud-init-output.log"))
	}
	if out := r.await("systemctl is-system-running",
		"running"); strings.TrimSpace(out) != "running" {
		r.t.Errorf("the system is %s:\n%s", strings.TrimSpace(out),
			r.mustSSH("systemctl --failed --no-pager --plain"))
	}
	if modes := r.mustSSH("sudo sh -c 'stat -c %a /etc/ztbridge/*' | sort -u"); modes != "600\n" {
		r.t.Errorf("modes of the configuration's files: %s", modes)
	}
	r.assertFirewall()
	r.t.Logf("status:\n%s", r.mustSSH("sudo ztbridge status"))
}

// assertFirewall: the image's own rules are there, our accepts go before them, SSH gets in (that is
// how we ask), and nothing else does.
func (r *rig) assertFirewall() {
	r.t.Helper()
	for chain, ours := range map[string]string{"FORWARD": "ZTB-FORWARD", "INPUT": ""} {
		rules := r.mustSSH("sudo iptables -S " + chain)
		reject := strings.Index(rules, "-j REJECT --reject-with icmp-host-prohibited")
		if reject < 0 {
			r.t.Errorf("the image's own rules are gone:\n%s", rules)
		}
		if at := strings.Index(rules, ours); at < 0 || at > reject {
			r.t.Errorf("%s does not come first:\n%s", ours, rules)
		}
	}
	conn, err := r.lab.Internet.Dial(r.t.Context(), "tcp", lab.BoxWAN4.String()+":9999")
	if err == nil {
		_ = conn.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "no route to host") {
		r.t.Errorf("a closed port answers with %v, not with the firewall's refusal", err)
	}
}
