package build

// What a start does without. On a slow processor each process costs a good part of a second, and
// each device event a tenth.

// commonCmdline restarts a kernel that gives up. It leaves out the self-tests of ciphers, as
// kernels do that are not configured for distributions, and the security modules for which there is
// no policy aboard: systemd spends two seconds on a program for the one that takes BPF.
const commonCmdline = "panic=10 loglevel=4 cryptomgr.notests lsm=landlock,lockdown,yama"

// maskedUnits ask for passwords that do not exist, write what is read-only, start a second OpenVPN,
// or prepare what no box has: the image comes with its users and names its modules, those with
// device nodes too. A session of user@.service is for more than one person at a shell.
var maskedUnits = []string{
	"getty@tty1.service", "serial-getty@.service", "getty-static.service", "dpkg-db-backup.timer",
	"e2scrub_all.timer", "e2scrub_reap.service",
	"fstrim.timer", "openvpn.service", "systemd-networkd-wait-online.service", "nftables.service",
	"ssh.socket", "sshd-keygen.service",
	"dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount",
	"sys-kernel-config.mount", "sys-kernel-debug.mount",
	"sys-kernel-tracing.mount", "modprobe@configfs.service", "modprobe@drm.service",
	"modprobe@efi_pstore.service", "modprobe@fuse.service",
	"systemd-pstore.service", "systemd-random-seed.service",
	"systemd-journal-catalog-update.service", "systemd-hwdb-update.service",
	"proc-sys-fs-binfmt_misc.automount", "systemd-journal-flush.service",
	"systemd-networkd-persistent-storage.service",
	"systemd-remount-fs.service", "systemd-udev-load-credentials.service", "user@.service",
	"run-lock.mount",
	"systemd-sysusers.service", "systemd-modules-load.service", "kmod-static-nodes.service",
}

// dropUnits are for a trusted platform module, an initramfs with systemd in it, sleep, extensions
// of the system, passwords that are asked for, and first starts: systemd would read each of them,
// and ask whether it applies.
var dropUnits = []string{
	"initrd-cleanup.service", "initrd-fs.target", "initrd-parse-etc.service",
	"initrd-root-device.target", "initrd-root-fs.target",
	"initrd-switch-root.service", "initrd-switch-root.target", "initrd-udevadm-cleanup-db.service",
	"initrd-usr-fs.target", "initrd.target",
	"ldconfig.service", "systemd-ask-password-console.path", "systemd-ask-password-console.service",
	"systemd-ask-password-wall.path",
	"systemd-ask-password-wall.service", "systemd-battery-check.service", "systemd-binfmt.service",
	"systemd-bsod.service",
	"systemd-confext.service", "systemd-creds.socket", "systemd-firstboot.service",
	"systemd-hibernate-clear.service",
	"systemd-hibernate-resume.service", "systemd-initctl.service", "systemd-initctl.socket",
	"systemd-machine-id-commit.service",
	"systemd-pcrextend.socket", "systemd-pcrlock.socket", "systemd-pcrmachine.service",
	"systemd-pcrphase-initrd.service",
	"systemd-pcrphase-sysinit.service", "systemd-pcrphase.service", "systemd-sysext.service",
	"systemd-sysext.socket",
	"systemd-tpm2-setup-early.service", "systemd-tpm2-setup.service", "systemd-update-done.service",
}

// dropGenerators make units out of what is not on this box: tables of file systems, consoles with a
// login, scripts in init.d, other tunnels. Without their folder systemd does not start the process
// that would run them.
const dropGenerators = "usr/lib/systemd/system-generators"

// dropRules are what udev does for desktops, and its names for disks: the box knows its partitions
// by the disk that it was booted from.
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

// initModules are those of the most likely disk and its host, then those of the root.
func initModules(disk ...string) []string {
	return append(disk, "vfat", "nls_cp437", "nls_ascii", "loop", "squashfs", "overlay")
}

// laterModules are those of less likely disks, and the one without which nothing works and that no
// other module asks for.
func laterModules(disk ...string) []string { return append(disk, "tun") }

// boxModules are those that systemd looks for first, then those that the guard and the daemon are
// sure to need: each would be a search and an archive to unpack, or a process, later on.
var boxModules = []string{"autofs4", "ip_tables", "qemu_fw_cfg", "nft_chain_nat", "nft_ct",
	"nft_fib_inet", "nft_masq", "nft_nat"}
