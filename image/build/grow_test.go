package build

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ztbridge/image/device/appliance"
	"ztbridge/image/device/box"
)

// The first start on a larger disk: the data partition takes the rest, nothing else changes, and a
// second time nothing does.
func TestDataPartitionGrows(t *testing.T) {
	need(t, "sfdisk")
	for _, p := range []Profile{cloudAMD64(), piARM64()} {
		t.Run(p.Target, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "disk.img")
			if err := (disk{profile: p, serial: 7}).write(file); err != nil {
				t.Fatal(err)
			}
			before := tableOf(t, file)
			size := int64(5000) * mib
			if err := os.Truncate(file, size); err != nil {
				t.Fatal(err)
			}
			var start, length int64
			for range 2 {
				f, err := os.OpenFile(file, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				if start, length, err = appliance.GrowTable(f, size); err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := exec.Command("sfdisk", "--verify", file).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			after := tableOf(t, file)
			for i, was := range before {
				now := after[i]
				if was.number(file) != box.DataPartition {
					if now != was {
						t.Errorf("%+v became %+v", was, now)
					}
					continue
				}
				if now.Start != was.Start || now.Start*sector != start ||
					now.Size*sector != length {
					t.Errorf("the data partition is %+v, was %+v; returned %d and %d", now, was,
						start, length)
				}
				if rest := size - start - length; rest < 0 || rest > mib {
					t.Errorf("%d bytes are left behind the data partition", rest)
				}
			}
		})
	}
}

type tableEntry struct {
	Node  string
	Start int64
	Size  int64
	Type  string
	UUID  string
}

func (e tableEntry) number(file string) int { return int(e.Node[len(file)] - '0') }

func tableOf(t *testing.T, file string) []tableEntry {
	t.Helper()
	out, err := exec.Command("sfdisk", "--json", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		PartitionTable struct{ Partitions []tableEntry }
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.PartitionTable.Partitions
}
