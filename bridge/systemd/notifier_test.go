package systemd

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Systemd is asked to wait for a daemon whose passes fail, told why, and not forever.
func TestStartIsExtendedForAWhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "")
	n := New(slog.New(slog.DiscardHandler), time.Second)
	failure := errors.New("observing the kernel:\nno answer")
	for _, tt := range []struct {
		name     string
		age      time.Duration
		filtered bool
		failure  error
		want     []string
	}{
		{"at first", 0, false, failure, []string{"EXTEND_TIMEOUT_USEC=60000000",
			"STATUS=observing the kernel:; no answer", "WATCHDOG=1"}},
		{"later", 4 * time.Minute, false, failure,
			[]string{"EXTEND_TIMEOUT_USEC=60000000", "WATCHDOG=1"}},
		{"too late", startLimit, false, failure, []string{"WATCHDOG=1"}},
		{"ready all the same", startLimit, true, nil, []string{"READY=1", "STATUS=", "WATCHDOG=1"}},
		{"no more", time.Second, false, failure,
			[]string{"STATUS=observing the kernel:; no answer", "WATCHDOG=1"}},
	} {
		n.began = time.Now().Add(-tt.age)
		if tt.name == "later" {
			n.began = n.began.Add(time.Second) // of the test itself
		}
		n.Alive(tt.filtered, tt.failure)
		var heard []string
		buf := make([]byte, 4096)
		for len(heard) == 0 || heard[len(heard)-1] != "WATCHDOG=1" {
			if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			size, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			heard = append(heard, string(buf[:size]))
		}
		if !slices.Equal(heard, tt.want) {
			t.Errorf("%s: systemd hears %q, want %q", tt.name, heard, tt.want)
		}
	}
}
