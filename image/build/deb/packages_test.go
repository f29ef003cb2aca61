package deb

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ztbridge/policyroute/netlab"
)

// contents is what dpkg puts on a machine of any architecture: modes and names.
const contents = `
-rw-r--r-- ./etc/apt/apt.conf.d/52ztbridge-unattended-upgrades
-rwxr-xr-x ./usr/bin/ztbridge
-rw-r--r-- ./usr/lib/NetworkManager/conf.d/50-ztbridge.conf
-rw-r--r-- ./usr/lib/systemd/networkd.conf.d/50-ztbridge.conf
-rw-r--r-- ./usr/lib/systemd/system/ztbridge-guard.service
-rw-r--r-- ./usr/lib/systemd/system/ztbridge-import.socket
-rw-r--r-- ./usr/lib/systemd/system/ztbridge-import@.service
-rw-r--r-- ./usr/lib/systemd/system/ztbridge.service
-rw-r--r-- ./usr/lib/sysusers.d/ztbridge.conf
-rw-r--r-- ./usr/lib/tmpfiles.d/ztbridge.conf
-rw-r--r-- ./usr/share/bash-completion/completions/ztbridge
-rw-r--r-- ./usr/share/fish/vendor_completions.d/ztbridge.fish
-rw-r--r-- ./usr/share/lintian/overrides/ztbridge
-rw-r--r-- ./usr/share/man/man5/ztbridge.yaml.5.gz
-rw-r--r-- ./usr/share/zsh/vendor-completions/_ztbridge
-rw-r--r-- ./usr/share/ztbridge/ztbridge.yaml
`

// TestPackage packs for this machine's own processor.
func TestPackage(t *testing.T) {
	arch := runtime.GOARCH
	if arch == "arm" {
		arch = "armhf"
	}
	packs(t, arch)
}

func TestLongEveryArchitecture(t *testing.T) {
	netlab.Long(t, "compiles for three processors")
	packs(t, Architectures...)
}

// packs checks that a package is for the processor that it names and needs no library, and that
// Debian's own inspector has nothing to say.
func packs(t *testing.T, architectures ...string) {
	t.Helper()
	for _, program := range []string{"dpkg-deb", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is not installed", program)
		}
	}
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64,
		"armhf": elf.EM_ARM}
	for _, arch := range architectures {
		t.Run(arch, func(t *testing.T) {
			file, err := Build(context.Background(), Options{Source: "../../..", Arch: arch,
				Version: "1.0.0", Date: time.Unix(1767225600, 0).UTC(), Out: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			list, program := unpacked(t, file)
			if diff := cmp.Diff(strings.TrimSpace(contents), strings.Join(list, "\n")); diff != "" {
				t.Errorf("contents (-want +got):\n%s", diff)
			}
			binary, err := elf.NewFile(bytes.NewReader(program))
			if err != nil {
				t.Fatal(err)
			}
			if binary.Machine != machines[arch] {
				t.Errorf("the program is for %s", binary.Machine)
			}
			for _, p := range binary.Progs {
				if p.Type == elf.PT_INTERP {
					t.Error("the program needs libraries")
				}
			}
			if _, err := exec.LookPath("lintian"); err != nil {
				t.Skip("SKIPPED: lintian is not installed")
			}
			if tags, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning",
				"--tag-display-limit", "0", file).CombinedOutput(); err != nil {
				t.Errorf("lintian:\n%s", tags)
			}
		})
	}
}

// unpacked lists a package's files, but for its documentation and the commands' pages, and returns
// the program. All belong to root.
func unpacked(t *testing.T, file string) (list []string, program []byte) {
	t.Helper()
	out, err := exec.Command("dpkg-deb", "--fsys-tarfile", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, program
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		if h.Typeflag == tar.TypeDir || strings.HasPrefix(h.Name, "./usr/share/doc/") ||
			strings.HasPrefix(h.Name, "./usr/share/man/man1/ztbridge") {
			continue
		}
		list = append(list, h.FileInfo().Mode().String()+" "+h.Name)
		if h.Name == "./usr/bin/ztbridge" {
			if program, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}
