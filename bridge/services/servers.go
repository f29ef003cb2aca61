package services

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// serverFiles say which resolvers and time servers the host asks.
var serverFiles = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf",
	"/run/systemd/netif/links/*", "/run/systemd/netif/state", "/etc/systemd/timesyncd.conf",
	"/etc/systemd/timesyncd.conf.d/*.conf", "/etc/chrony/chrony.conf", "/etc/chrony.conf",
	"/etc/chrony/sources.d/*.sources", "/run/chrony-dhcp/*.sources", "/etc/ntp.conf",
	"/etc/ntpsec/ntp.conf"}

// hostServers returns the addresses of the resolvers and time servers that the host asks, as far as
// its files name addresses. A file that cannot be read names none.
func hostServers() []netip.Addr {
	var out []netip.Addr
	for _, pattern := range serverFiles {
		files, _ := filepath.Glob(pattern) // the patterns are well-formed
		for _, file := range files {
			text, _ := os.ReadFile(file)
			out = append(out, serversIn(string(text))...)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// serversIn returns the addresses in lines of resolv.conf, ntp.conf, chrony.conf and systemd's own
// files. Those of the host itself are left out: a program of its own answers there.
func serversIn(text string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		key, first, assigned := strings.Cut(words[0], "=")
		switch {
		case assigned && slices.Contains([]string{"DNS", "NTP", "FallbackNTP"}, key):
			words[0] = first
		case slices.Contains([]string{"nameserver", "server", "pool", "peer"}, key):
			words = words[1:]
		default:
			continue
		}
		for _, w := range words {
			w, _, _ = strings.Cut(w, "%")
			if a, err := netip.ParseAddr(w); err == nil && !a.IsLoopback() &&
				!a.IsUnspecified() {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}
