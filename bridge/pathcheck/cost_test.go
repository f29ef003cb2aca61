package pathcheck

import (
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// counted is a device that counts the bytes of both ways.
type counted struct {
	io.ReadWriteCloser
	bytes atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// TestCost: a client that all is well for costs at most a megabyte a day, a thousandth of a core
// and three megabytes of memory. What answers in this test is counted as well.
func TestCost(t *testing.T) {
	const checks = 300
	before := heap()
	dev := &counted{ReadWriteCloser: newNetwork()}
	c := New(Config{Open: func() (io.ReadWriteCloser, error) { return dev, nil },
		Notify: func() {}, Logger: slog.New(slog.DiscardHandler)})
	go func() { _ = c.Run(t.Context()) }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if r, err := c.Ask(t.Context(), clients()[0]); err == nil && r.Works() {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	dev.bytes.Store(0)
	began := processorTime(t)
	for i := range checks {
		client := clients()[0]
		if i%int(udpEvery/Quiet) > 0 {
			client.stands = map[Kind]Outcome{UDP: {Asked: true, Answered: true}}
		}
		if r, err := c.Ask(t.Context(), client); err != nil || !r.Works() {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	each := (processorTime(t) - began) / checks
	share := 100 * each.Seconds() / Quiet.Seconds()
	day := float64(dev.bytes.Load()) / checks * float64(24*time.Hour/Quiet) / 1e6
	memory := float64(heap()-before) / 1e6
	t.Logf("%v a check, %.4f %% of a core, %.2f MB a day, %.2f MB of memory", each, share, day,
		memory)
	if share > 0.1 || day > 1 || memory > 3 {
		t.Error("more than is promised")
	}
	runtime.KeepAlive(c)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
