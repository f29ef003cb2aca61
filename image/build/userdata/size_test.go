package userdata

import (
	"strings"
	"testing"
)

func TestSizeWarnings(t *testing.T) {
	for size, clouds := range map[int]string{16384: "", 16385: "EC2", 23000: "EC2",
		23001: "Oracle EC2"} {
		var named []string
		for _, w := range SizeWarnings(size) {
			named = append(named, strings.Fields(w)[0])
		}
		if got := strings.Join(named, " "); got != clouds {
			t.Errorf("%d bytes: %q warn, want %q", size, got, clouds)
		}
	}
}
