package zerotier

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// fakeWorld is the world of a fakeNode.
type fakeWorld struct{ *fakeNode }

func TestConformanceFake(t *testing.T) {
	conformance(t, func(t *testing.T) world { return fakeWorld{newFakeNode(t)} })
}

func (w fakeWorld) Home() string            { return w.home }
func (w fakeWorld) Address() Address        { a, _ := ParseAddress(fakeAddress); return a }
func (w fakeWorld) Network() NetworkID      { return w.network }
func (w fakeWorld) Start()                  { w.start() }
func (w fakeWorld) Stop()                   { w.stop() }
func (w fakeWorld) Timeout() time.Duration  { return 30 * time.Second }
func (w fakeWorld) WriteLocalConf(s string) { w.write("local.conf", s) }

func (w fakeWorld) Install(s *Service) {
	s.ifaces = w.interfaces
	s.program = func() bool { return true }
}

func (w fakeWorld) Authorise(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.authorised = yes
}

func (w fakeWorld) BreakDevice(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tapFails = yes
}

func (w fakeWorld) Set(settings map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.Copy(w.nets[w.network].settings, settings)
}

func (w fakeWorld) Leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.nets, w.network)
	delete(w.cached, w.network)
	delete(w.links, w.network.Iface())
}

func (w fakeWorld) WriteToken(s string) { w.write("authtoken.secret", s) }

func (w fakeWorld) Token() string {
	raw, err := os.ReadFile(filepath.Join(w.home, "authtoken.secret"))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(raw)
}

func (w fakeWorld) LocalConf() string {
	raw, _ := os.ReadFile(filepath.Join(w.home, "local.conf"))
	return string(raw)
}
