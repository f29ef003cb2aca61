// Command init is the first process of the appliance. It loads the modules its disk needs, puts the
// slot's squashfs under a RAM overlay and hands over to systemd. Whatever goes wrong, it restarts
// the machine: after a first try of a new slot the boot loader then goes back to the old one.
//
//	/slot   FAT of the slot, read-only            vmlinuz initrd root.sqfs
//	/lower  squashfs of root.sqfs by a loop device
//	/upper  tmpfs, at most a quarter of the RAM
//	/root   overlay of the two: becomes /
package main
