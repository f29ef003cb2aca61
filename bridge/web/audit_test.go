package web

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// TestAuditAfterALossOfPower: an entry that was cut off is lost, and no other one is.
func TestAuditAfterALossOfPower(t *testing.T) {
	a := &audit{dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	a.write(Entry{What: "first"})
	a.write(Entry{What: "second"})
	path := filepath.Join(a.dir, auditFile)
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-10)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.write(Entry{What: "third"})
	entries, err := a.last(10)
	if err != nil || len(entries) != 2 || entries[0].What != "third" || entries[1].What != "first" {
		t.Errorf("%+v, %v", entries, err)
	}
}
