// Package box names what the parts of a running appliance hand to each other: the initramfs, which
// finds the disk, and the system, which uses it.
package box
