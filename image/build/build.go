package build

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ztbridge/image/build/pkglock"
	"ztbridge/image/device/box"
)

//go:embed boot/README.txt
var bootFiles embed.FS

// Options holds everything that decides an image's bytes, beside the constants of its profile.
type Options struct {
	Profile     Profile
	Lock        *pkglock.Lock
	Mirror      string // base address above debian/ and debian-security/
	Cache       string // folder that survives builds
	Out         string // path of the result without its suffixes
	Version     string
	Deb         string // our package, for the profile's architecture
	ZeroTierDeb string // the vendor's, already checked; empty: without
	Init        []byte // static binaries for the profile's architecture
	Appliance   []byte
	Example     []byte // ztbridge.yaml.example
	UpdateURL   string // folder with channel files; empty: none
	UpdateKey   []byte // public key that updates are checked with; empty: no updates
	Progress    Progress
}

// build is the state of one run.
type build struct {
	Options
	work     string
	store    *pkglock.Store
	rootTar  string
	unpacked map[string]string // package → folder
	kernel   kernel
}

// Build makes the image and returns the files written. The same options make the same bytes.
func Build(ctx context.Context, o Options) ([]string, error) {
	if o.Lock.Arch != o.Profile.Arch || o.Lock.Suite != o.Profile.Suite {
		return nil, fmt.Errorf("building %s: the lock is for %s on %s", o.Profile.Target,
			o.Lock.Suite, o.Lock.Arch)
	}
	cache, err := filepath.Abs(o.Cache)
	if err != nil {
		return nil, fmt.Errorf("finding the cache: %w", err)
	}
	o.Cache = cache
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("making the cache: %w", err)
	}
	work, err := os.MkdirTemp(cache, "build-*")
	if err != nil {
		return nil, fmt.Errorf("making a work folder: %w", err)
	}
	defer os.RemoveAll(work)
	if o.ZeroTierDeb != "" {
		o.Profile = o.Profile.withZeroTier()
	}
	b := &build{Options: o, work: work, unpacked: map[string]string{}}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	slot, err := b.makeSlot(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := b.makeDisk(ctx, slot)
	if err != nil {
		return nil, err
	}
	return b.deliver(ctx, raw, slot)
}

// prepare fetches, installs and unpacks packages, or takes the results from the cache.
func (b *build) prepare(ctx context.Context) error {
	b.store = &pkglock.Store{Dir: filepath.Join(b.Cache, "debs"), Mirror: b.Mirror,
		Client: &http.Client{Timeout: 10 * time.Minute},
		Progress: func(done, total int) {
			if done == total {
				b.Progress("packages", fmt.Sprintf("%d present and verified", total))
			}
		}}
	if err := b.store.Fetch(ctx, b.Lock); err != nil {
		return err
	}
	var err error
	if b.rootTar, err = rootTar(ctx, b.Profile, b.Lock, b.store, b.Cache, b.Progress); err != nil {
		return err
	}
	var kernels []pkglock.Package
	for _, p := range b.Lock.Packages {
		switch {
		case p.Role != pkglock.Unpack:
		case strings.HasPrefix(p.Name, kernelPackages):
			kernels = append(kernels, p)
		default:
			dir := filepath.Join(b.Cache, "unpacked-"+p.SHA256[:16])
			if err := unpack(ctx, dir, b.store.File(p)); err != nil {
				return err
			}
			b.unpacked[p.Name] = dir
		}
	}
	b.kernel, err = unpackKernel(ctx, b.store, kernels, b.Cache)
	return err
}

// makeSlot makes the file that fills a slot's partition. An update replaces exactly that.
func (b *build) makeSlot(ctx context.Context) (string, error) {
	t, err := composeRoot(ctx, b)
	if err != nil {
		return "", err
	}
	b.Progress("root", "compressing")
	root := filepath.Join(b.work, "root.sqfs")
	if err := squash(ctx, t, root, b.Lock.Date); err != nil {
		return "", err
	}
	files := map[string][]byte{}
	if files["root.sqfs"], err = os.ReadFile(root); err != nil {
		return "", fmt.Errorf("reading the root file system: %w", err)
	}
	if files["vmlinuz"], err = os.ReadFile(b.kernel.image); err != nil {
		return "", fmt.Errorf("reading the kernel: %w", err)
	}
	if b.Profile.GzipKernel {
		if files["vmlinuz"], err = gzipped(ctx, files["vmlinuz"]); err != nil {
			return "", fmt.Errorf("compressing the kernel: %w", err)
		}
	}
	lists := b.Profile.moduleLists()
	if files["initrd"], err = initramfs(b.Init, b.kernel.modules, lists); err != nil {
		return "", err
	}
	if err := checkBoards(b.Profile, b.kernel, t); err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b.Progress("slot", fmt.Sprintf("%s %.1f MB", name, float64(len(files[name]))/1e6))
	}
	slot := filepath.Join(b.work, "slot.img")
	f := fat{label: "ZTB-SLOT", serial: 0x5a54534c, size: b.Profile.partition(SlotKind).bytes(),
		files: files, when: b.Lock.Date}
	return slot, f.write(ctx, slot)
}

// partition returns the only partition of a kind, or the first slot; the zero value if there is
// none.
func (p Profile) partition(kind Kind) Partition {
	i := slices.IndexFunc(p.Partitions, func(of Partition) bool { return of.Kind == kind })
	if i < 0 {
		return Partition{}
	}
	return p.Partitions[i]
}

// serial returns the serial number of the configuration partition. It depends on the build, so that
// the boot loader never takes an older card in a second reader for this one.
func (b *build) serial() uint32 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s", b.Profile.Target, b.Version,
		b.Lock.Hash(pkglock.Install), b.Lock.Hash(pkglock.Unpack)))
	return binary.BigEndian.Uint32(sum[:]) | 1 // never zero, which means "none"
}

// makeDisk makes the whole disk. Slot B and the data partition stay empty: the first update and the
// first start fill them.
func (b *build) makeDisk(ctx context.Context, slot string) (string, error) {
	b.Progress("disk", "writing")
	serial := b.serial()
	files, err := b.configFiles(serial)
	if err != nil {
		return "", err
	}
	d := disk{profile: b.Profile, serial: serial,
		contents: map[int]string{box.SlotAPartition: slot}}
	for _, g := range b.Profile.Grub {
		core, err := grubCore(ctx, g, b.unpacked[g.Package], b.work, serial)
		if err != nil {
			return "", err
		}
		if g.File != "" {
			files[g.File] = core
			continue
		}
		if d.bios, err = b.biosBoot(g, core); err != nil {
			return "", err
		}
	}
	config := filepath.Join(b.work, "config.img")
	f := fat{label: "ZTBRIDGE", serial: serial, size: b.Profile.partition(ConfigKind).bytes(),
		files: files, when: b.Lock.Date}
	if err := f.write(ctx, config); err != nil {
		return "", err
	}
	d.contents[box.ConfigPartition] = config
	raw := filepath.Join(b.work, "disk.img")
	return raw, d.write(raw)
}

func (b *build) biosBoot(g Grub, core []byte) (*biosBoot, error) {
	image, err := os.ReadFile(filepath.Join(b.unpacked[g.Package], "usr/lib/grub", g.Format,
		"boot.img"))
	if err != nil {
		return nil, fmt.Errorf("reading GRUB's boot sector: %w", err)
	}
	p := b.Profile.partition(BIOSKind)
	if p.Size == 0 {
		return nil, fmt.Errorf("preparing BIOS boot: %s has no partition for it", b.Profile.Target)
	}
	boot, err := newBIOSBoot(image, core, p.Start)
	return &boot, err
}

func (b *build) configFiles(serial uint32) (map[string][]byte, error) {
	env, err := initialGrubEnv()
	if err != nil {
		return nil, err
	}
	readme, err := bootFiles.ReadFile("boot/README.txt")
	if err != nil {
		return nil, fmt.Errorf("reading the boot partition's README: %w", err)
	}
	files := map[string][]byte{
		"grub/grub.cfg": []byte(grubConfig(b.Profile, serial)),
		"grub/grubenv":  env,
		"README.txt": dosText(fmt.Appendf(readme, "\nThis image is tested %s\n",
			b.Profile.Tested)),
		"ztbridge.yaml.example": dosText(b.Example),
	}
	if b.Profile.Pi {
		return files, addPiFiles(files, b)
	}
	return files, nil
}

func dosText(text []byte) []byte {
	return []byte(strings.ReplaceAll(string(text), "\n", "\r\n"))
}
