// Package build makes the appliance's disk images, for cards and virtual machines, out of pinned
// Debian packages. It needs no loop devices, no mounts and no network but the package mirror, and
// makes the same bytes each time.
//
// An image is a declarative value, a Profile; everything else carries it out:
//
//	lock ─▶ .debs ─▶ root tar ─┐
//	our binaries, units ───────┼─▶ root.sqfs ┐
//	kernel package ────────────┼─▶ vmlinuz ──┼─▶ slot (FAT) ─┐
//	init + modules ────────────┴─▶ initrd ───┘               ├─▶ disk ─▶ .img.zst, .qcow2
//	GRUB (and the Pi's firmware, U-Boot) ─▶ config (FAT) ────┘
package build
