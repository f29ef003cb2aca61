package e2e

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/lab"
)

// TestConfigTry connects a profile by `config try`, and finds the box as it was before.
func TestConfigTry(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{
		Credentials: &lab.Credentials{User: "alice", Password: "correct horse"}}}})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("good.auth", "alice\ncorrect horse\n")
	b.write("bad.auth", "alice\nbattery staple\n")
	for _, host := range []string{"1.1.1.1:443", "[2606:4700:4700::1111]:443"} {
		server, err := top.Internet.Listen("tcp", host)
		if err != nil {
			continue // the lab has no such address
		}
		t.Cleanup(func() { _ = server.Close() })
		go func() {
			for {
				conn, err := server.Accept()
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}
		}()
	}
	state := func() string {
		// Other tests make namespaces, too: ip(8) names those of links, and complains of one that
		// is gone.
		out, err := top.Box.Run(t.Context(), "sh", "-c",
			"{ ip -br link; ip addr; ip route show table all; ip -6 route show table all; ip rule; "+
				"ip netns | grep -v ^ztb-; } 2>/dev/null | sed 's/ link-netns.*//'")
		must(t, err)
		return out
	}
	before := stable(state())
	killed := "/run/ztbridge-try-99999999-1" // no process has such a number (proc(5), pid_max)
	must(t, os.MkdirAll(killed+"/run", 0o700))
	b.sh("ip tuntap add dev tunztbt99999999 mode tun")
	t.Cleanup(func() { _ = os.RemoveAll(killed) })
	file := filepath.Join(b.dir, "provider.ovpn")

	out, err := b.run("config", "try", file, "--credentials", filepath.Join(b.dir, "good.auth"))
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("config try: %v", err)
	}
	for _, want := range []string{"connected", "address", "MTU", "echo", "DNS", "TCP"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not tell %q:\n%s", want, out)
		}
	}
	if _, err := b.run("config", "try", file, "--credentials",
		filepath.Join(b.dir, "bad.auth")); err == nil ||
		!strings.Contains(err.Error(), "rejected the user name or password") {
		t.Errorf("with a wrong password: %v", err)
	}
	if after := stable(state()); after != before {
		t.Errorf("it left something behind; before:\n%s\nafter:\n%s", before, after)
	}
	left, err := filepath.Glob("/run/ztbridge-try-*")
	must(t, err)
	for _, dir := range left {
		pid := strings.Split(filepath.Base(dir), "-")[2]
		if _, err := os.Stat("/proc/" + pid); err != nil { // else another test's
			t.Errorf("left behind: %s", dir)
		}
	}
}

// stable leaves out lifetimes of addresses, which count down.
func stable(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "valid_lft") && !strings.Contains(line, "expires") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
