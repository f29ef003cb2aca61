// Package systemd tells systemd whether the daemon is ready, alive or about to end.
package systemd
