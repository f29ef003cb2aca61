package zerotier

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/health"
)

// fakeIDTool does what zerotier-idtool does to files; its moons are no moons.
func fakeIDTool(_ context.Context, dir string, args ...string) ([]byte, error) {
	switch args[0] {
	case "initmoon":
		return []byte(`{"id":"` + fakeAddress +
			`","objtype":"world","worldType":"moon","signingKey_SECRET":"s3cret","roots":[{"identity":"x","stableEndpoints":[]}]}`), nil
	case "genmoon":
		recipe, err := os.ReadFile(args[1])
		if err != nil {
			return nil, err
		}
		return nil, os.WriteFile(filepath.Join(dir, "000000"+fakeAddress+".moon"), recipe, 0o600)
	}
	return nil, errors.New("unknown command")
}

func TestMoonIsMadeAndKept(t *testing.T) {
	w := fakeWorld{newFakeNode(t)}
	w.start()
	endpoints := []netip.AddrPort{netip.MustParseAddrPort("198.51.100.10:9993")}
	d := drive(t, w, func(c *Config) {
		c.Networks, c.Moon, c.IDTool = nil, &Moon{endpoints},
			fakeIDTool
	})
	d.until("a moon", func(st Status) bool { return st.Moon.String() == fakeAddress })

	recipe := filepath.Join(w.home, recipeName)
	if st, err := os.Stat(recipe); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the recipe, which holds a key: %v %v", st, err)
	}
	raw, err := os.ReadFile(filepath.Join(w.home, "moons.d", "000000"+fakeAddress+".moon"))
	if err != nil || !strings.Contains(string(raw), "198.51.100.10/9993") {
		t.Errorf("moon %s %v", raw, err)
	}

	// Other endpoints keep the key.
	maker := moonMaker{w.home, fakeIDTool}
	self := w.Address()
	other := []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:443")}
	if !maker.made(self, endpoints) || maker.made(self, other) {
		t.Error("made does not tell endpoints apart")
	}
	var before, after map[string]any
	readJSON(t, recipe, &before)
	if err := maker.make(t.Context(), self, other); err != nil {
		t.Fatal(err)
	}
	readJSON(t, recipe, &after)
	if !maker.made(self, other) || before["signingKey_SECRET"] != after["signingKey_SECRET"] {
		t.Errorf("remade as %v", after)
	}
	if maker.made(self+1, other) {
		t.Error("another node's moon passes for ours")
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOrbitIsAsked(t *testing.T) {
	w := fakeWorld{newFakeNode(t)}
	w.start()
	moon := Address(0x9e8ee536be)
	drive(t, w, func(c *Config) { c.Networks, c.Orbit = nil, []Address{moon} })
	awaitCondition(t, w, "the orbit", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		waiting, asked := w.moons[moon]
		return asked && waiting
	})
}

func TestMoonToolMissing(t *testing.T) {
	w := fakeWorld{newFakeNode(t)}
	w.start()
	d := drive(t, w, func(c *Config) {
		c.Networks, c.Moon = nil, &Moon{
			[]netip.AddrPort{netip.MustParseAddrPort("198.51.100.10:9993")}}
		c.IDTool = func(context.Context, string, ...string) ([]byte, error) {
			return nil,
				errors.New("no such program")
		}
	})
	st := d.until("told", func(st Status) bool { return len(st.Problems) > 0 })
	if st.Problems[0].Code != health.ServiceMoon ||
		!strings.Contains(st.Problems[0].Message, "no such program") {
		t.Errorf("%+v", st.Problems)
	}
}

func TestBrokenLocalConfIsTold(t *testing.T) {
	w := fakeWorld{newFakeNode(t)}
	w.start()
	w.WriteLocalConf("{broken")
	d := drive(t, w)
	st := d.until("told", func(st Status) bool { return len(st.Problems) > 0 })
	if st.Problems[0].Code != health.ServiceLocalConf || w.LocalConf() != "{broken" {
		t.Errorf("%+v, file %q", st.Problems, w.LocalConf())
	}
}

// A calm service is not news, costs little, and leaves nothing behind when it ends.
func TestCalm(t *testing.T) {
	w := fakeWorld{newFakeNode(t)}
	w.start()
	w.Authorise(true)
	goroutines := runtime.NumGoroutine()
	t.Run("driven", func(t *testing.T) {
		d := drive(t, w)
		d.untilUsable()
		d.until("in contact", func(st Status) bool { return st.Reachable })
		count := d.count.Load()
		for range 20 {
			before := w.seen()
			d.Poke()
			awaitCondition(t, w, "a look after a poke", func() bool { return w.seen() > before })
		}
		if got := d.count.Load(); got != count {
			t.Errorf("%d notifications while nothing changed", got-count)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.badTypes > 0 {
			t.Error("sent settings of a type that the service ignores")
		}
	})
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > goroutines && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines before, %d after", goroutines, n)
	}
}

func (f *fakeNode) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// A second network whose device fails must not be tried again and again: the attempt can bring the
// service down, and the first network with it.
func TestFailedDeviceBesideAnotherNetwork(t *testing.T) {
	w := fakeWorld{newFakeNode(t)}
	w.start()
	w.Authorise(true)
	second := w.network ^ 0xff
	d := drive(t, w)
	d.untilUsable()
	w.BreakDevice(true)
	both := drive(t, w, func(c *Config) { c.Networks = []NetworkID{w.network, second} })
	both.until("told", func(st Status) bool { return st.Networks[1].State == NetworkNoDevice })
	if st := both.Status(); st.Networks[0].State != NetworkOK {
		t.Errorf("the first network is %s", st.Networks[0].State)
	}
}

func TestBackoff(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second,
		5: 32 * time.Second, 6: time.Minute, 60: time.Minute} {
		if got := backoff(failures); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
}

// What one look at a calm service costs, with the share of the fake that answers.
func BenchmarkLook(b *testing.B) {
	answers := map[string]string{"/status": "gw-status.json", "/network": "gw-network.json",
		"/peer": "gw-peer.json"}
	home := homeOf(b, func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join("testdata", "api", answers[r.URL.Path]))
	})
	s := New(Config{Home: home, Networks: []NetworkID{0xfe5f2d532b02de82}})
	for b.Loop() {
		s.peersAt = time.Time{}
		s.step(context.Background())
		if st := s.Status(); st.Networks[0].State != NetworkOK {
			b.Fatalf("%+v", st)
		}
	}
}
