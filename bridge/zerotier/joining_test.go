package zerotier

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A network that is being joined says what it waits for, whether that is taking too long or not.
func TestJoiningStatus(t *testing.T) {
	const id = NetworkID(0xabcdef0123000001)
	asking := facts{networks: map[NetworkID]networkAnswer{
		id: {ID: id, Status: "REQUESTING_CONFIGURATION"}}}
	for name, c := range map[string]struct {
		f       facts
		a       attempt
		state   NetworkState
		waiting bool
		cause   string
	}{
		"not yet": {facts{}, attempt{}, NetworkJoining, true,
			"about to join network abcdef0123000001"},
		"refused": {facts{}, attempt{failure: "out of memory"}, NetworkJoining, false,
			"joining network abcdef0123000001 failed: out of memory"},
		"without device": {facts{}, attempt{failure: "EOF", device: "there is no device"},
			NetworkNoDevice, false, "there is no device"},
		"asking": {asking, attempt{}, NetworkJoining, true,
			"waiting for the controller abcdef0123"},
		"asking for long": {asking, attempt{late: true}, NetworkJoining, false,
			"no answer from the network's controller abcdef0123"},
	} {
		st := networkStatus(id, c.f, id.Iface(), c.a)
		if st.State != c.state || st.Waiting != c.waiting || !strings.Contains(st.Cause, c.cause) ||
			c.waiting != (st.Remedy == "") {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// Why a join failed is kept until one succeeds.
func TestKeepsWhyJoinFailed(t *testing.T) {
	const id = NetworkID(0xabcdef0123000001)
	home := t.TempDir()
	refuse := true
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete:
			_, _ = w.Write([]byte("{}"))
		case refuse:
			http.Error(w, "{}", http.StatusInternalServerError)
		default:
			_, _ = w.Write([]byte(`{"id":"` + id.String() +
				`","status":"REQUESTING_CONFIGURATION"}`))
		}
	})}
	go server.Serve(listener)
	defer server.Close()
	for name, text := range map[string]string{
		"authtoken.secret": "0123456789abcdefghijklmn", "zerotier-one.port": strconv.Itoa(
			listener.Addr().(*net.TCPAddr).Port),
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := &member{id: id, client: NewLocal(home), log: slog.New(slog.DiscardHandler)}
	now := time.Now()
	look := func() NetworkStatus {
		f := facts{networks: map[NetworkID]networkAnswer{}}
		m.enforce(context.Background(), &f, now)
		now = now.Add(joinGrace + retryMin)
		return networkStatus(id, f, id.Iface(), m.attempt(now))
	}
	if st := look(); st.Cause == "" || !st.Waiting {
		t.Errorf("at first: %+v", st)
	}
	if st := look(); st.Waiting || !strings.Contains(st.Cause, "failed: asking POST") {
		t.Errorf("after a join that failed: %+v", st)
	}
	refuse = false
	now = now.Add(retryMax)
	if st := look(); !st.Waiting || !strings.Contains(st.Cause, "waiting for the controller") {
		t.Errorf("after one that did not: %+v", st)
	}
}
