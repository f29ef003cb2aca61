package appliance

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestKeptLogsAreBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	log := append(bytes.Repeat([]byte("x"), 2*keptLogBytes), "the last line"...)
	for i := range 2 * keptLogs {
		if err := keep(dir, "daemon", start.Add(time.Duration(i)*time.Second), log); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != keptLogs {
		t.Fatalf("%d logs kept, want %d", len(files), keptLogs)
	}
	if got := files[len(files)-1].Name(); got != "20260102T030414Z-daemon.log" {
		t.Errorf("the newest is %s", got)
	}
	content, err := os.ReadFile(filepath.Join(dir, files[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	if len(content) != keptLogBytes || !bytes.HasSuffix(content, []byte("the last line")) {
		t.Errorf("%d bytes kept, the end among them: %v", len(content),
			bytes.HasSuffix(content, []byte("the last line")))
	}
}
