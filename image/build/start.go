package build

// This file lists what a start leaves out. On a slow processor each process costs a good part of a
// second, and each device event a tenth.

// commonCmdline restarts after a panic, and skips cipher self-tests and unused security modules.
// The image has no policy for those modules, and systemd spends two seconds on a program for the
// BPF one.
const commonCmdline = "panic=10 loglevel=4 cryptomgr.notests lsm=landlock,lockdown,yama"

// maskedUnits have no use on a box. They ask for passwords that do not exist, write to read-only
// files, start a second OpenVPN, or create users and load modules that the image already has.
var maskedUnits = []string{
	"getty@tty1.service", "serial-getty@.service", "getty-static.service", "dpkg-db-backup.timer",
	"e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "openvpn.service",
	"systemd-networkd-wait-online.service", "nftables.service", "ssh.socket", "sshd-keygen.service",
	"dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount",
	"sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
	"modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service",
	"modprobe@fuse.service", "systemd-pstore.service", "systemd-random-seed.service",
	"systemd-journal-catalog-update.service", "systemd-hwdb-update.service",
	"proc-sys-fs-binfmt_misc.automount", "systemd-journal-flush.service",
	"systemd-networkd-persistent-storage.service", "systemd-remount-fs.service",
	"systemd-udev-load-credentials.service", "user@.service", "run-lock.mount",
	"systemd-sysusers.service", "systemd-modules-load.service", "kmod-static-nodes.service",
}

// dropUnits are removed because systemd would read each one and test whether it applies. They are
// for trusted platform modules, an initramfs with systemd, sleep, system extensions, password
// prompts and first boots.
var dropUnits = []string{
	"initrd-cleanup.service", "initrd-fs.target", "initrd-parse-etc.service",
	"initrd-root-device.target", "initrd-root-fs.target", "initrd-switch-root.service",
	"initrd-switch-root.target", "initrd-udevadm-cleanup-db.service", "initrd-usr-fs.target",
	"initrd.target", "ldconfig.service", "systemd-ask-password-console.path",
	"systemd-ask-password-console.service", "systemd-ask-password-wall.path",
	"systemd-ask-password-wall.service", "systemd-battery-check.service", "systemd-binfmt.service",
	"systemd-bsod.service", "systemd-confext.service", "systemd-creds.socket",
	"systemd-firstboot.service", "systemd-hibernate-clear.service",
	"systemd-hibernate-resume.service", "systemd-initctl.service", "systemd-initctl.socket",
	"systemd-machine-id-commit.service", "systemd-pcrextend.socket", "systemd-pcrlock.socket",
	"systemd-pcrmachine.service", "systemd-pcrphase-initrd.service",
	"systemd-pcrphase-sysinit.service", "systemd-pcrphase.service", "systemd-sysext.service",
	"systemd-sysext.socket", "systemd-tpm2-setup-early.service", "systemd-tpm2-setup.service",
	"systemd-update-done.service",
}

// dropGenerators is the folder of programs that generate units for fstab, logins and init.d. The
// box uses none of these. Without the folder, systemd does not start the process that runs them.
const dropGenerators = "usr/lib/systemd/system-generators"

// dropRules are udev's rules for desktops and for names of disks. The box finds its partitions by
// the disk that it was booted from.
var dropRules = below("usr/lib/udev/rules.d", "60-cdrom_id.rules", "60-dmi-id.rules",
	"60-drm.rules", "60-evdev.rules", "60-fido-id.rules",
	"60-infiniband.rules", "60-persistent-alsa.rules", "60-persistent-input.rules",
	"60-persistent-storage-mtd.rules",
	"60-persistent-storage-tape.rules", "60-persistent-storage.rules", "60-persistent-v4l.rules",
	"60-sensor.rules", "64-btrfs.rules",
	"64-ext4.rules", "70-camera.rules", "70-joystick.rules", "70-memory.rules", "70-mouse.rules",
	"70-touchpad.rules", "70-uaccess.rules",
	"71-seat.rules", "73-seat-late.rules", "75-probe_mtd.rules", "78-sound-card.rules",
	"90-iocost.rules", "96-e2scrub.rules")

// initModules returns the modules of the most likely disk, then those that the root needs.
func initModules(disk ...string) []string {
	return append(disk, "vfat", "nls_cp437", "nls_ascii", "loop", "squashfs", "overlay")
}

// laterModules returns the modules of less likely disks, and tun: the daemon needs it, and no other
// module loads it.
func laterModules(disk ...string) []string { return append(disk, "tun") }

// boxModules are needed by systemd first, then by the guard and the daemon. Loading them early
// saves a search, an unpacking or a process for each.
var boxModules = []string{"autofs4", "ip_tables", "qemu_fw_cfg", "nft_chain_nat", "nft_ct",
	"nft_fib_inet", "nft_masq", "nft_nat"}
