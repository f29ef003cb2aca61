package client

import (
	"archive/zip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

// TestCollection connects by a folder and by a ZIP archive of profiles, the first of whose servers
// are dead.
func TestCollection(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	// Four servers: one refuses at once, one is silent, two serve.
	l.serve("udp")
	l.provider("ip addr add 192.0.2.3/24 dev prov0")
	l.serve("udp", "port 1195", "server 10.78.0.0 255.255.255.0", "local 192.0.2.3")
	profiles := map[string]string{
		"nl-1.ovpn": l.profile("remote 192.0.2.2 9 udp"),
		"nl-2.ovpn": l.profile("remote 192.0.2.99 1194 udp"),
		"nl-3.ovpn": l.profile("remote 192.0.2.2 1194 udp"),
		"nl-4.ovpn": l.profile("remote 192.0.2.3 1195 udp"),
	}
	folder := filepath.Join(l.dir, "provider")
	archive := filepath.Join(l.dir, "provider.zip")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for name, text := range profiles {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		entry, err := w.Create("OVPN/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	connect := func(from, name string, edit func(*Config), pick ...string) *client {
		t.Helper()
		p, _, err := profile.LoadAll(from, pick, profile.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return l.dial(l.profile("remote "+serverAddr), func(c *Config) {
			c.Profile, c.Name = p, name
			if edit != nil {
				edit(c)
			}
		})
	}
	on := func(c *client, server string) Status {
		t.Helper()
		s := c.await(server, func(s Status) bool {
			return s.State == StateUp && s.Remote.Member == server
		})
		c.ping()
		return s
	}

	// As written, the next after failures; then another by choice.
	c := connect(folder, "folder", nil)
	s := on(c, "nl-3")
	if len(s.Servers) != 4 {
		t.Errorf("servers %v", s.Servers)
	}
	for name, want := range map[string]bool{"nl-4": true, "de-1": false} {
		if has, err := c.Prefer(name); has != want || err != nil {
			t.Errorf("Prefer %s: %v, %v", name, has, err)
		}
	}
	on(c, "nl-4")
	c.stop()

	// The choice counts after a restart, too, until it is forgotten.
	c = connect(folder, "folder", nil)
	on(c, "nl-4")
	if has, err := c.Prefer(""); !has || err != nil {
		t.Errorf("forgetting the choice: %v, %v", has, err)
	}
	on(c, "nl-4")
	c.stop()
	if c = connect(folder, "folder", nil); c.selected() != "" {
		t.Error("the choice is not forgotten")
	}
	c.stop()

	// Random comes to one that serves, wherever it begins.
	c = connect(archive, "random", func(c *Config) { c.Order = Random })
	c.awaitState(StateUp)
	c.ping()
	c.stop()

	// By time: nl-4 answers soonest, as was measured before. nl-1 and nl-2 never do.
	c = connect(archive, "fastest", func(c *Config) { c.Order = Fastest })
	c.awaitState(StateUp)
	c.ping()
	c.stop()
	path := filepath.Join(l.dir, "state", "fastest.pace.json")
	known := openPace(path)
	text := fmt.Sprint(known.known)
	if len(known.known) != 2 || !strings.Contains(text, "nl-3/") || !strings.Contains(text, "nl-4/") {
		t.Fatalf("measured: %v", known.known)
	}
	for key := range known.known {
		took := 80 * time.Millisecond
		if strings.HasPrefix(key, "nl-4/") {
			took = 20 * time.Millisecond
		}
		known.known[key] = paceRecord{Took: took, Time: time.Now()}
	}
	if err := known.save(); err != nil {
		t.Fatal(err)
	}
	c = connect(archive, "fastest", func(c *Config) { c.Order = Fastest })
	if s := c.awaitState(StateUp); s.Remote.Member != "nl-4" {
		t.Errorf("the fastest was %s", s.Remote.Member)
	}
	c.stop()

	// At a time of day, the next one.
	now := time.Now()
	at := now.Sub(time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())) +
		10*time.Second // it must be connected by then
	c = connect(folder, "rotate", func(c *Config) { c.Rotate = &at }, "nl-[34]")
	on(c, "nl-3")
	on(c, "nl-4")
}
