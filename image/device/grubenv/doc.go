// Package grubenv reads and writes the boot loader's environment block, the only state that GRUB
// and the running system share. GRUB decides what to boot; the system decides whether that was
// good.
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
