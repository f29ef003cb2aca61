package tun

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

// A packet written to the device enters the kernel by it, what the kernel sends there is read, and
// Close ends a read that waits.
func TestOpen(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const name = "tunztbtest0"
	if err := Ensure(name, 0, 0); err != nil {
		t.Fatal(err)
	}
	f, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name); !errors.Is(err, ErrBusy) {
		t.Errorf("opened twice: %v, want ErrBusy", err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := f.Read(make([]byte, 2048)); err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := exec.Command("ip", "link", "set", name, "up").Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 20)); err == nil {
		t.Error("what is no IP packet was taken")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("the reader ended with %v, want ErrClosed", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Close did not end the read")
	}
	if err := Remove(name); err != nil {
		t.Errorf("the device did not stay, or cannot be removed: %v", err)
	}
}
