package build

import (
	"os"
	"path/filepath"
	"testing"
)

// The registry and the descriptions are folders here: what is written is what the kernel would be
// told.
func TestRegisterFormat(t *testing.T) {
	const line = `:qemu-aarch64:M::\x7fELF\x02:\xff\xff\xff\xff\xff:/usr/bin/qemu-aarch64:OCPF`
	write := func(t *testing.T, dir, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		known bool
		want  string // in the register
	}{
		{"described for systemd", false, line},
		{"known to the kernel", true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			registry, descriptions := t.TempDir(), t.TempDir()
			write(t, registry, "register", "")
			write(t, descriptions, "qemu-aarch64.conf", "# a comment\n"+line+"\n")
			if tt.known {
				write(t, registry, "qemu-aarch64", "enabled\n")
			}
			if err := registerFormat(t.Context(), registry, descriptions,
				"qemu-aarch64"); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(registry, "register"))
			if err != nil || string(got) != tt.want {
				t.Errorf("registered %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
