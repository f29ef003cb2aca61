// Package build builds the appliance: disk images for cards and virtual machines, out of pinned
// Debian packages, without loop devices, mounts or any network but the package mirror, and bit for
// bit the same each time.
//
// An image is a declarative value, a Profile; everything else carries it out:
//
//	lock ─▶ .debs ─▶ root tar ─┐
//	our binaries, units ───────┼─▶ root.sqfs ┐
//	kernel package ────────────┼─▶ vmlinuz ──┼─▶ slot (FAT) ─┐
//	init + modules ────────────┴─▶ initrd ───┘               ├─▶ disk ─▶ .img.zst, .qcow2
//	GRUB (and the Pi's firmware, U-Boot) ─▶ config (FAT) ────┘
package build
