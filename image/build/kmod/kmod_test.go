package kmod

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func tree(t *testing.T) *Tree {
	t.Helper()
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tr, err := Open(fstest.MapFS{
		"modules.dep": file(
			"kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz\n" +
				"kernel/fs/jbd2/jbd2.ko.xz:\nkernel/fs/mbcache.ko.xz:\n" +
				"kernel/lib/crc32c-arm.ko.xz:\n" +
				"kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz\n" +
				"kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz\nkernel/drivers/virtio/virtio.ko.xz:\n"),
		"modules.softdep": file(
			"# comment\nsoftdep ext4 pre: crc32c-arm no-such-alias post: other\n"),
		"modules.builtin": file("kernel/block/loop.ko\n"),
		"modules.alias": file("# Aliases\nalias of:N*T*Cbrcm,bcm2712-sdhciC* sdhci_brcmstb\n" +
			"alias of:N*T*Cbrcm,bcm2712-sdhci sdhci_brcmstb\n" +
			"alias of:N*T*Craspberrypi,rp1-gem macb\nalias pci:v00001 other\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestResolve(t *testing.T) {
	tests := []struct {
		name  string
		ask   []string
		files []string
	}{
		{"dependencies come first, softdeps too", []string{"ext4"}, []string{
			"kernel/lib/crc32c-arm.ko.xz", "kernel/fs/mbcache.ko.xz", "kernel/fs/jbd2/jbd2.ko.xz",
			"kernel/fs/ext4/ext4.ko.xz"}},
		{"each once, dashes and underscores alike",
			[]string{"virtio-pci", "virtio_ring", "virtio_pci"}, []string{
				"kernel/drivers/virtio/virtio.ko.xz", "kernel/drivers/virtio/virtio_ring.ko.xz",
				"kernel/drivers/virtio/virtio_pci.ko.xz"}},
		{"built in needs no file", []string{"loop"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tree(t).Resolve(tt.ask...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.files, got); diff != "" {
				t.Errorf("load order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveUnknown(t *testing.T) {
	if _, err := tree(t).Resolve("nosuch"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error = %v, want ErrNotFound", err)
	}
}

func TestCompatible(t *testing.T) {
	tr := tree(t)
	for compatible, want := range map[string][]string{
		"brcm,bcm2712-sdhci": {"sdhci_brcmstb"}, "raspberrypi,rp1-gem": {"macb"}, "unknown": nil,
	} {
		if diff := cmp.Diff(want, tr.Compatible(compatible)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", compatible, diff)
		}
	}
}
