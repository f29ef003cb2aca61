// Package box names what the parts of a running appliance exchange. They are the initramfs, which
// finds the disk, and the system, which uses it.
package box
