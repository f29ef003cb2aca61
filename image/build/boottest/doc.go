// Package boottest starts images in QEMU and waits for what they write on their consoles.
package boottest
