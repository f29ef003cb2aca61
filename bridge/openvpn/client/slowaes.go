package client

import (
	"runtime"

	"golang.org/x/sys/cpu"
)

// SlowAES reports whether this processor has no instructions for AES.
func SlowAES() bool {
	switch runtime.GOARCH {
	case "amd64":
		return !cpu.X86.HasAES
	case "arm64":
		return !cpu.ARM64.HasAES
	}
	return true
}
