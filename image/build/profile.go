package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ztbridge/image/device/box"
)

// Table is a kind of partition table.
type Table string

// Partition tables. The Pi's firmware wants an MBR; UEFI and big disks want GPT.
const (
	GPT Table = "gpt"
	MBR Table = "mbr"
)

// Kind says what a partition is for.
type Kind string

// Kinds of partitions.
const (
	ConfigKind Kind = "config" // FAT with boot loader and the user's files
	SlotKind   Kind = "slot"
	DataKind   Kind = "data"
	BIOSKind   Kind = "bios" // GRUB's core for BIOS machines
)

// Partition is one entry of the table. Sizes and places are in sectors of 512 bytes.
type Partition struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Kind   Kind   `json:"kind"`
	Start  uint64 `json:"start"`
	Size   uint64 `json:"size"`
}

func (p Partition) bytes() int64 { return int64(p.Size * sector) }

// KernelSource is where a target's kernel comes from.
type KernelSource string

// Sources of kernels.
const (
	SuiteKernel     KernelSource = "suite"
	BackportsKernel KernelSource = "backports" // newer, for newer machines
)

// Grub is one boot loader binary to make.
type Grub struct {
	Format  string `json:"format"`  // grub-mkimage's name
	Package string `json:"package"` // locked package with its modules
	// on the configuration partition; none: into the BIOS partition
	File    string   `json:"file,omitempty"`
	Modules []string `json:"modules"`
}

// Profile describes one target completely: what its image contains and how its disk is laid out.
type Profile struct {
	Target     string   `json:"target"`
	Arch       string   `json:"arch"` // Debian's name
	Suite      string   `json:"suite"`
	Components []string `json:"components"`

	Packages []string `json:"packages"`
	Unpack   []string `json:"unpack"`
	// Kernel is where the kernel comes from: the suite itself, or its backports.
	Kernel KernelSource `json:"kernel"`
	// Boards are names of device trees whose drivers must be in the image, see checkBoards.
	Boards   []string `json:"boards,omitempty"`
	Drop     []string `json:"drop"`               // paths left out of the root
	DropMods []string `json:"dropModules"`        // folders left out below the kernel's modules
	Firmware []string `json:"firmware,omitempty"` // unpacked packages whose files go into the root
	// KeepFirmware are beginnings of names below usr/lib/firmware; everything else there is left
	// out. None: all is kept.
	KeepFirmware []string `json:"keepFirmware,omitempty"`

	// InitModules are loaded by the initramfs before it looks for the disk. LaterModules are loaded
	// while it waits, BoxModules while systemd starts.
	InitModules  []string `json:"initModules"`
	LaterModules []string `json:"laterModules,omitempty"`
	BoxModules   []string `json:"boxModules"`
	Cmdline      string   `json:"cmdline"`
	GzipKernel   bool     `json:"gzipKernel,omitempty"`

	Table      Table       `json:"table"`
	DiskSize   int64       `json:"diskSize"` // bytes
	Partitions []Partition `json:"partitions"`
	Grub       []Grub      `json:"grub"`
	// the configuration partition also has the Pi's firmware and U-Boot
	Pi bool `json:"pi,omitempty"`

	Enable []string `json:"enable"` // units
	Mask   []string `json:"mask"`
	// DropUnits are left out, with whatever wants them.
	DropUnits []string `json:"dropUnits"`
	Files     []string `json:"files"` // folders of files/ that are laid over the root, in order
	QCOW2     bool     `json:"qcow2,omitempty"`

	Tested string `json:"tested"` // where the image was tried, for the README on its boot partition
}

const (
	sector = 512
	mib    = 1 << 20
)

// basePackages are installed on every box. A package manager is not: an update replaces a slot.
var basePackages = []string{
	"ca-certificates", "dbus", "e2fsprogs", "iproute2", "iputils-ping", "kmod", "nftables",
	"openssh-server",
	"openvpn", "systemd", "systemd-resolved", "systemd-sysv", "systemd-timesyncd", "udev",
}

// zerotierPackages are the dependencies of the vendor's zerotier-one package. It is not in Debian,
// so they must be pinned here.
var zerotierPackages = []string{"libstdc++6", "libssl3t64", "adduser"}

var dropPaths = []string{
	"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian",
	"usr/share/bash-completion", "usr/share/zsh", "usr/share/bug", "usr/share/i18n",
	"usr/share/perl5", "usr/share/zoneinfo", "usr/share/polkit-1", "usr/lib/udev/hwdb.bin",
	"usr/lib/udev/hwdb.d", "usr/lib/python3", "usr/lib/modules", "var/cache", "var/lib/apt",
	"var/lib/systemd/catalog", "usr/lib/systemd/catalog", "var/log/apt", "var/log/dpkg.log",
	"var/log/alternatives.log", "var/log/bootstrap.log", "var/lib/dpkg/info", "etc/apt",
	"etc/machine-id", "var/lib/dbus/machine-id", "etc/ssh/ssh_host_", "etc/hostname",
	"etc/resolv.conf", "run", "tmp", "boot", "dev", "etc/.pwd.lock", "root/.bashrc", "etc/motd",
	"etc/update-motd.d", "var/lib/ucf",
}

var dropModules = []string{
	"drivers/gpu", "drivers/media", "drivers/staging", "drivers/infiniband", "drivers/isdn",
	"drivers/bluetooth", "net/bluetooth", "sound", "drivers/iio", "drivers/hwmon", "drivers/leds",
	"drivers/input/joystick", "drivers/input/touchscreen", "drivers/mtd", "fs/btrfs", "fs/xfs",
	"fs/ocfs2", "fs/gfs2", "fs/nfs", "fs/nfsd", "fs/ceph", "fs/smb", "fs/f2fs", "fs/jfs",
	"fs/bcachefs", "fs/ubifs", "drivers/md", "drivers/target", "net/ceph", "net/sctp", "net/dccp",
	"net/rds", "net/tipc", "net/can", "drivers/net/can", "net/mac802154", "net/ieee802154",
	"net/batman-adv", "net/openvswitch", "drivers/comedi", "drivers/power", "drivers/video",
	// Hosts of guests and of other machines' disks, and what such disks are mounted by.
	"arch/x86/kvm", "drivers/vhost", "drivers/nvdimm", "drivers/block/drbd", "drivers/nvme/target",
	"net/sunrpc", "net/netfilter/ipvs", "fs/9p", "fs/afs", "fs/exfat", "fs/lockd", "fs/netfs",
	"fs/ntfs", "fs/ntfs3", "fs/orangefs", "fs/udf",
	// Parts of portable computers.
	"drivers/net/wwan", "drivers/platform/surface", "drivers/thermal/intel",
}

// piDropModules are modules of Debian's arm64 kernel that no Pi can use. The hardware cannot be
// connected to a Pi, or its firmware is not in the image.
var piDropModules = append(slices.Concat(
	below("drivers/net/wireless", "admtek", "ath", "atmel", "intel", "intersil", "marvell",
		"mediatek", "ralink", "realtek", "rsi", "ti", "virtual", "zydas"),
	below("drivers/net/ethernet", "3com", "8390", "adaptec", "agere", "alteon", "amazon", "amd",
		"apm", "aquantia", "atheros", "brocade",
		"broadcom/bnx2x", "broadcom/bnxt", "cavium", "chelsio", "cisco", "dec", "dlink",
		"emulex", "freescale", "google", "hisilicon",
		"huawei", "intel", "marvell", "mediatek", "mellanox", "micrel", "microsoft", "mscc",
		"myricom", "natsemi", "neterion", "netronome",
		"packetengines", "pensando", "qlogic", "qualcomm", "rdc", "sfc", "silan", "sis",
		"socionext", "stmicro", "sun", "tehuti", "ti", "via"),
	below("drivers/scsi", "aacraid", "aic7xxx", "aic94xx", "be2iscsi", "bfa", "bnx2fc", "bnx2i",
		"csiostor", "cxgbi", "esas2r", "fcoe", "hisi_sas",
		"libfc", "libsas", "lpfc", "megaraid", "mpi3mr", "mpt3sas", "mvsas", "pm8001", "qedf",
		"qedi", "qla2xxx", "qla4xxx", "smartpqi", "snic", "sym53c8xx_2"),
	below("drivers/usb", "gadget/function", "gadget/legacy", "serial", "usbip"),
	below("drivers/clk", "mediatek", "qcom", "sunxi-ng", "imx", "meson", "tegra", "rockchip",
		"renesas"),
), "drivers/ata", "drivers/firewire", "drivers/hid", "drivers/hwtracing", "drivers/message",
	"drivers/soundwire", "drivers/ufs", "drivers/xen", "fs/dlm", "fs/nilfs2", "fs/reiserfs",
	"net/atm", "net/nfc", "net/rxrpc", "net/smc")

// below prefixes names with their folder.
func below(folder string, names ...string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, folder+"/"+name)
	}
	return out
}

// piFirmware names the firmware of the Pis' Wi-Fi chips.
var piFirmware = []string{"regulatory.db", "brcm/brcmfmac43430-sdio", "brcm/brcmfmac43436",
	"brcm/brcmfmac43455-sdio", "brcm/brcmfmac43456",
	"cypress/cyfmac43430-sdio", "cypress/cyfmac43455-sdio"}

var enabledUnits = []string{
	"ztbridge-setup.service", "ztbridge-metadata.service", "ztbridge-guard.service",
	"ztbridge.service", "ztbridge-console.service",
	"ztbridge-trial.service", "ztbridge-update.timer", "ssh.service",
	"systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service",
}

var grubModules = []string{
	"configfile", "echo", "fat", "gzio", "linux", "loadenv", "minicmd", "normal", "part_gpt",
	"part_msdos", "probe", "reboot",
	"regexp", "search", "search_fs_uuid", "serial", "sleep", "terminal", "test",
}

// Profiles returns the profile of each target by the target's name.
func Profiles() map[string]Profile {
	all := map[string]Profile{}
	for _, p := range []Profile{cloudAMD64(), cloudARM64(), piARM64()} {
		all[p.Target] = p
	}
	return all
}

// ProfileOf returns a target's profile on a suite of Debian with a kernel of the given source.
// Empty names mean the stable suite and its own kernel.
func ProfileOf(target, suite string, source KernelSource) (Profile, error) {
	all := Profiles()
	p, ok := all[target]
	if !ok {
		return Profile{}, fmt.Errorf("no such target %q: there are %s", target,
			strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	switch suite {
	case "", p.Suite:
	case "forky":
		p.Suite = suite
	default:
		return Profile{}, fmt.Errorf("no such suite %q: there are trixie, forky", suite)
	}
	switch source {
	case "", SuiteKernel:
	case BackportsKernel:
		if p.Suite != stable {
			return Profile{}, fmt.Errorf("%s has no backports: its own kernel is new", p.Suite)
		}
		p.Kernel = source
	default:
		return Profile{}, fmt.Errorf("no such kernel %q: there are suite, backports", source)
	}
	if p.Pi && (p.Kernel == BackportsKernel || p.Suite != stable) {
		p = p.withPi5()
	}
	return p, nil
}

// LockName returns the name of the profile's lock file.
func (p Profile) LockName() string {
	name := p.Target
	if p.Suite != stable {
		name += "-" + p.Suite
	}
	if p.Kernel == BackportsKernel {
		name += "-backports"
	}
	return name + ".lock"
}

// stable is the suite that images are built of unless another is asked for.
const stable = "trixie"

func base(target, arch string) Profile {
	return Profile{
		Target: target, Arch: arch, Suite: stable, Kernel: SuiteKernel,
		Components: []string{"main", "non-free-firmware"},
		Packages:   slices.Concat(basePackages, zerotierPackages),
		Drop:       slices.Concat(dropPaths, []string{dropGenerators}, dropRules),
		DropMods:   dropModules,
		DiskSize:   1024 * mib, // a power of two, as an SD host in QEMU wants it
		Enable:     enabledUnits, Mask: maskedUnits, DropUnits: dropUnits,
		Files:      []string{"common"},
		BoxModules: boxModules,
	}
}

// withZeroTier returns the profile with ZeroTier's unit enabled. The vendor's package would do that
// in a maintainer script, which does not run here.
func (p Profile) withZeroTier() Profile {
	p.Enable = append(slices.Clone(p.Enable), "zerotier-one.service")
	p.Files = append(slices.Clone(p.Files), "zerotier")
	return p
}

// layout returns the partitions, the same for all targets. The configuration comes first because
// the Pi's firmware reads the first partition; data comes last so that it can grow.
func layout() []Partition {
	at := uint64(mib / sector)
	next := func(number int, name string, kind Kind, megabytes uint64) Partition {
		p := Partition{Number: number, Name: name, Kind: kind, Start: at,
			Size: megabytes * mib / sector}
		at += p.Size
		return p
	}
	return []Partition{
		next(box.ConfigPartition, "ztbridge", ConfigKind, 128),
		next(box.SlotAPartition, "slot-a", SlotKind, 256),
		next(box.SlotBPartition, "slot-b", SlotKind, 256),
		// the last of 1024 MiB is left to the backup table
		next(box.DataPartition, "data", DataKind, 382),
	}
}

func cloudAMD64() Profile {
	p := base("cloud-amd64", "amd64")
	p.Unpack = []string{"linux-image-cloud-amd64", "grub-pc-bin", "grub-efi-amd64-bin"}
	p.InitModules = initModules("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod")
	p.LaterModules = laterModules("nvme", "hv_storvsc", "xen_blkfront")
	p.Cmdline = "console=tty0 console=ttyS0,115200 " + commonCmdline
	p.Table = GPT
	// The gap between the table and the first aligned partition is where GRUB's BIOS core has
	// always lived.
	p.Partitions = append(layout(), Partition{Number: 5, Name: "bios", Kind: BIOSKind, Start: 34,
		Size: mib/sector - 34})
	p.Grub = []Grub{
		{Format: "i386-pc", Package: "grub-pc-bin",
			Modules: append([]string{"biosdisk"}, grubModules...)},
		{Format: "x86_64-efi", Package: "grub-efi-amd64-bin", File: "EFI/BOOT/BOOTX64.EFI",
			Modules: grubModules},
	}
	p.QCOW2 = true
	p.Tested = "in QEMU, by BIOS and by UEFI. Not yet on a cloud's own machines."
	return p
}

func cloudARM64() Profile {
	p := base("cloud-arm64", "arm64")
	p.Unpack = []string{"linux-image-cloud-arm64", "grub-efi-arm64-bin"}
	p.InitModules = initModules("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod")
	p.LaterModules = laterModules("nvme")
	p.Cmdline = "console=tty0 console=ttyAMA0,115200 " + commonCmdline
	p.GzipKernel = true
	p.Table, p.Partitions = GPT, layout()
	p.Grub = []Grub{{Format: "arm64-efi", Package: "grub-efi-arm64-bin",
		File: "EFI/BOOT/BOOTAA64.EFI", Modules: append([]string{"fdt"}, grubModules...)}}
	p.QCOW2 = true
	p.Tested = "in QEMU's virt machine, by UEFI. Not yet on a cloud's own machines."
	return p
}

func piARM64() Profile {
	p := base("rpi-arm64", "arm64")
	p.Packages = append(p.Packages, "wpasupplicant", "wireless-regdb")
	p.Unpack = []string{"linux-image-arm64", "grub-efi-arm64-bin", "raspi-firmware", "u-boot-rpi",
		"firmware-brcm80211"}
	p.Firmware, p.KeepFirmware = []string{"firmware-brcm80211"}, piFirmware
	p.DropMods = slices.Concat(p.DropMods, piDropModules)
	// The card readers' power comes by regulators, which have drivers of their own on a Pi 4 and 5.
	p.InitModules = initModules("bcm2835_wdt", "fixed", "gpio_regulator", "sdhci_iproc", "bcm2835",
		"mmc_block",
		"reset_raspberrypi", "pcie_brcmstb", "xhci_pci", "dwc2",
		"usb_storage", "uas", "sd_mod")
	p.LaterModules = laterModules()
	p.Cmdline = "console=tty0 console=ttyS1,115200 " + commonCmdline
	p.GzipKernel = true
	p.Table, p.Partitions = MBR, layout()
	p.Grub = []Grub{{Format: "arm64-efi", Package: "grub-efi-arm64-bin",
		File: "EFI/BOOT/BOOTAA64.EFI", Modules: append([]string{"fdt"}, grubModules...)}}
	p.Pi = true
	p.Files = append(p.Files, "pi")
	p.Enable = append(slices.Clone(p.Enable), "wpa_supplicant@wlan0.service")
	p.Tested = "in QEMU's Raspberry Pi 3 only, which begins at U-Boot. Not yet on hardware: a " +
		"Raspberry Pi 3, 4 or Zero 2 W should start it. " +
		"A Raspberry Pi 5 needs the kernel of backports."
	p.Boards = []string{"broadcom/bcm2837-rpi-3-b", "broadcom/bcm2837-rpi-3-b-plus",
		"broadcom/bcm2837-rpi-3-a-plus", "broadcom/bcm2837-rpi-zero-2-w",
		"broadcom/bcm2711-rpi-4-b", "broadcom/bcm2711-rpi-400"}
	return p
}

// withPi5 adds the Raspberry Pi 5. Its network, USB and pins are on a chip connected by PCIe that
// kernels before 6.19 do not drive. Its firmware is in an EEPROM and takes the same config.txt,
// U-Boot and device trees.
func (p Profile) withPi5() Profile {
	p.InitModules = slices.Concat(piFiveModules, p.InitModules)
	p.Boards = append(slices.Clone(p.Boards), "broadcom/bcm2712-rpi-5-b",
		"broadcom/bcm2712-d-rpi-5-b")
	p.Cmdline = strings.Replace(p.Cmdline, "console=ttyS1", "console=ttyAMA10,115200 console=ttyS1",
		1)
	p.Tested = "in QEMU's Raspberry Pi 3 only, which begins at U-Boot. Not yet on hardware: a " +
		"Raspberry Pi 3, 4, 5 or Zero 2 W should start it."
	return p
}

// piFiveModules are for the card reader of the Raspberry Pi 5.
var piFiveModules = []string{"pinctrl_brcmstb_bcm2712", "gpio_brcmstb", "fixed", "gpio_regulator",
	"sdhci_brcmstb"}
