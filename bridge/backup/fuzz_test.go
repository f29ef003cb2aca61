package backup

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever has the passphrase may have made the archive, too: no name of it leads elsewhere, and no
// size of it costs much.
func FuzzArchive(f *testing.F) {
	archive := func(names ...string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range names {
			text := "{}"
			header := tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)),
				Mode: 0o600}
			if err := w.WriteHeader(&header); err != nil {
				f.Fatal(err)
			}
			if _, err := w.Write([]byte(text)); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	f.Add(archive(manifestName, string(configPart)+"/"+configName))
	f.Add(archive(manifestName, string(configPart)+"/"+configName, "state/pki/ca.pem",
		"zerotier/identity.secret"))
	f.Add(archive(manifestName, string(configPart)+"/../../"+configName))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, all, err := parse(data)
		if err != nil {
			if len(all) > 0 {
				t.Fatal("files are returned beside an error")
			}
			return
		}
		size := 0
		for _, one := range all {
			size += len(one.data)
			if !filepath.IsLocal(one.name) || strings.Contains(one.name, "\x00") ||
				!allowed(one.part, one.name) {
				t.Errorf("%q of %q leads elsewhere", one.name, one.part)
			}
		}
		if size > maxBackup {
			t.Errorf("%d bytes came of %d", size, len(data))
		}
	})
}
