package e2e

import (
	"archive/zip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

// TestServersOfACollection uses a provider's archive by the commands: list its servers, select one,
// keep it over a restart, forget it.
func TestServersOfACollection(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	f, err := os.OpenFile(filepath.Join(b.dir, "provider.zip"), os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	w := zip.NewWriter(f)
	for name, text := range map[string]string{"nl-1.ovpn": top.Providers[0].Config(),
		"nl-2.ovpn": top.Providers[0].Config(), "de-1.ovpn": top.Providers[0].Config(),
		"us-1.ovpn": top.Providers[0].Config(), "wg-1.conf": "[Interface]\n[Peer]\n"} {
		entry, err := w.Create(`OVPN\` + name)
		must(t, err)
		_, err = entry.Write([]byte(text))
		must(t, err)
	}
	must(t, errors.Join(w.Close(), f.Close()))
	configuration := strings.Replace(gatewayConfig, "{profile: provider.ovpn}",
		"{profiles: provider.zip, pick: [nl-*, de-*, wg-*]}", 1)
	b.write("ztbridge.yaml", configuration)
	b.start()
	b.awaitEgress("provider")
	on := func(server string) {
		t.Helper()
		b.await("server "+server, func(st api.Status) bool {
			return len(st.Egresses) > 0 && st.Egresses[0].Server == server && st.Egresses[0].Usable
		})
	}
	on("nl-1")
	list := strings.Join(strings.Fields(b.mustRun("egress", "list", "--servers")), " ")
	if want := "SERVER IN USE provider/nl-1 yes provider/nl-2 no provider/de-1 no"; list != want {
		t.Errorf("the servers are listed as %q, want %q", list, want)
	}
	for name, want := range map[string]string{"provider/us-1": `"us-1" of egress provider`,
		"nobody/nl-1": `egress "nobody"`} {
		if _, err := b.run("egress", "use", name); err == nil ||
			!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "hint:") {
			t.Errorf("use %s: %v", name, err)
		}
	}
	b.mustRun("egress", "use", "provider/nl-2")
	on("nl-2")
	b.stop()
	b.start()
	on("nl-2")

	b.write("ztbridge.yaml", strings.Replace(configuration, "[nl-*", "[fr-*", 1))
	for _, command := range [][]string{{"config", "check"}, {"reload"}} {
		_, err := b.run(command...)
		if err == nil || !strings.Contains(err.Error(), `pick: no profile matches "fr-*"`) ||
			!strings.Contains(err.Error(), "ztbridge.yaml:4") {
			t.Errorf("%v: %v", command, err)
		}
	}
	on("nl-2") // as before
	b.write("ztbridge.yaml", configuration)
	if out := b.mustRun("config", "check"); !strings.Contains(out, "left out: OVPN/wg-1.conf") {
		t.Errorf("the check says nothing of the WireGuard file:\n%s", out)
	}
	b.mustRun("egress", "reset")
	b.stop()
	b.start()
	on("nl-1")
}
