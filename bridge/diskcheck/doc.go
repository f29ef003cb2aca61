// Package diskcheck finds out whether the disk or SD card that holds the box's state is full, was
// made read-only by the kernel, or has had errors. It writes nothing.
package diskcheck
