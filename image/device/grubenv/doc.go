// Package grubenv reads and writes the boot loader's environment block: the one piece of state that
// GRUB, which decides what to boot, and the running system, which decides what was good, share.
//
//	          bundle written          GRUB, before it boots B      health check passed
//	active=A ────────────────▶ try=B ────────────────────────▶ try=B ─────────────────▶ active=B
//	                           left=1                          left=0                   try= left=
//	                                                              │ anything else:
//	                                                              │ reset, watchdog, failed check
//	                                                              └────────▶ GRUB boots active=A
//
// A rollback goes the same way, but that no bundle is written.
package grubenv
