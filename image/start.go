package image

// What a start does without. On a slow processor each process costs a good part of a second, and each device event a tenth.

// commonCmdline restarts a kernel that gives up. It leaves out the self-tests of ciphers, as kernels do that are not
// configured for distributions, and the security modules for which there is no policy aboard: systemd spends two seconds on
// a program for the one that takes BPF.
const commonCmdline = "panic=10 loglevel=4 cryptomgr.notests lsm=landlock,lockdown,yama"

// maskedUnits ask for passwords that do not exist, write what is read-only, start a second OpenVPN, or prepare what no box
// has: the image comes with its users and names its modules. A session of user@.service is for more than one person at a
// shell.
var maskedUnits = []string{
	"getty@tty1.service", "serial-getty@.service", "getty-static.service", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
	"fstrim.timer", "openvpn.service", "systemd-networkd-wait-online.service", "nftables.service", "ssh.socket", "sshd-keygen.service",
	"dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount",
	"sys-kernel-tracing.mount", "modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
	"systemd-pstore.service", "systemd-random-seed.service", "systemd-journal-catalog-update.service", "systemd-hwdb-update.service",
	"proc-sys-fs-binfmt_misc.automount", "systemd-journal-flush.service", "systemd-networkd-persistent-storage.service",
	"systemd-remount-fs.service", "systemd-udev-load-credentials.service", "user@.service", "run-lock.mount",
	"systemd-sysusers.service", "systemd-modules-load.service",
}

// dropGenerators make units out of what is not on this box: tables of file systems, consoles with a login, scripts in
// init.d, other tunnels. The one for SSH would open more ways in than the one there is.
var dropGenerators = below("usr/lib/systemd/system-generators", "openvpn-generator", "systemd-fstab-generator", "systemd-getty-generator",
	"systemd-gpt-auto-generator", "systemd-hibernate-resume-generator", "systemd-rc-local-generator", "systemd-run-generator",
	"systemd-ssh-generator", "systemd-system-update-generator", "systemd-sysv-generator", "systemd-tpm2-generator")

// dropRules are what udev does for desktops, and its names for disks: the box knows its partitions by the disk that it was
// booted from.
var dropRules = below("usr/lib/udev/rules.d", "60-cdrom_id.rules", "60-dmi-id.rules", "60-drm.rules", "60-evdev.rules", "60-fido-id.rules",
	"60-infiniband.rules", "60-persistent-alsa.rules", "60-persistent-input.rules", "60-persistent-storage-mtd.rules",
	"60-persistent-storage-tape.rules", "60-persistent-storage.rules", "60-persistent-v4l.rules", "60-sensor.rules", "64-btrfs.rules",
	"64-ext4.rules", "70-camera.rules", "70-joystick.rules", "70-memory.rules", "70-mouse.rules", "70-touchpad.rules", "70-uaccess.rules",
	"71-seat.rules", "73-seat-late.rules", "75-probe_mtd.rules", "78-sound-card.rules", "90-iocost.rules", "96-e2scrub.rules")

// initModules are those of the most likely disk and its host, then those of the root.
func initModules(disk ...string) []string {
	return append(disk, "vfat", "nls_cp437", "nls_ascii", "loop", "squashfs", "overlay")
}

// laterModules are those of other disks, then those that the guard and the daemon are sure to need: each would be a process
// later on, and an archive to unpack.
func laterModules(disk ...string) []string {
	return append(disk, "nft_chain_nat", "nft_ct", "nft_fib_inet", "nft_masq", "nft_nat", "tun")
}
