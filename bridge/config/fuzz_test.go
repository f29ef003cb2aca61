package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParse: whatever the file, reading it ends without a panic; every mistake has a text and a
// file; and what is accepted can be shown, and means the same when it is read again.
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
	f.Add(
		[]byte(
			"ingress: [a]\negress: {x: {wan: {ipv6: {prefix: , ndp: true}}}}\npolicy: [{egress: x}]\ninbound: [{to: , tcp: [22]}]\n"))
	f.Add([]byte(minimal + "policy: [{from: , to: , egress: }]\npeering:\n"))
	f.Add([]byte(minimal + "policy: []\npeering: []\n"))
	f.Add([]byte(minimal + "endpoint:\nprobe:\ninbound:\ningress:\n"))
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
		if diff := cmp.Diff(cfg, again.cfg, same, splitSelectors); diff != "" {
			t.Errorf("(-read +shown):\n%s\n%s", diff, shown)
		}
	})
}
