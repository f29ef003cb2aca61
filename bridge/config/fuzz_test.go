package config

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse: whatever the file, reading it ends without a panic; every mistake has a text and a file; and what
// is accepted can be shown and is accepted again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	for _, pattern := range []string{"../../configs/*.yaml", "../../configs/examples/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			f.Add([]byte(uncomment(string(data))))
		}
	}
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? [x]\n: y\n"))
	f.Add([]byte("egress: {x: {wan: {ipv6: {ndp: }}}}\npolicy:\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := newDecoder("/etc/ztbridge/ztbridge.yaml")
		d.parse(data, nil)
		cfg, _, err := d.result()
		if err != nil {
			for _, mistake := range d.errs {
				if mistake.File == "" || mistake.Problem == "" || mistake.Err == nil {
					t.Errorf("a mistake without place, text or class: %#v", mistake)
				}
			}
			return
		}
		shown, err := cfg.Show()
		if err != nil {
			t.Fatalf("showing what was accepted: %v", err)
		}
		again := newDecoder("/etc/ztbridge/ztbridge.yaml")
		again.parse(shown, nil)
		if len(again.errs) > 0 {
			t.Fatalf("what was shown is refused: %v\n%s", again.errs, shown)
		}
	})
}
