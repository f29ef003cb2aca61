package services

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// serverPatterns match the files that name the host's resolvers and time servers.
var serverPatterns = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf",
	"/run/systemd/netif/links/*", "/run/systemd/netif/state", "/etc/systemd/timesyncd.conf",
	"/etc/systemd/timesyncd.conf.d/*.conf", "/etc/chrony/chrony.conf", "/etc/chrony.conf",
	"/etc/chrony/sources.d/*.sources", "/run/chrony-dhcp/*.sources", "/etc/ntp.conf",
	"/etc/ntpsec/ntp.conf"}

// serverFiles reads the addresses of the host's resolvers and time servers, each file once until it
// changes. Safe for concurrent use.
type serverFiles struct {
	patterns []string
	mu       sync.Mutex
	files    map[string]serverFile // by path
}

// serverFile holds the addresses in a file with the given size, time and inode.
type serverFile struct {
	info  os.FileInfo
	addrs []netip.Addr
}

// addrs returns the addresses, sorted, as far as the files name addresses. A file that cannot be
// read names none.
func (f *serverFiles) addrs() []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := map[string]serverFile{}
	var out []netip.Addr
	for _, pattern := range f.patterns {
		paths, _ := filepath.Glob(pattern) // the patterns are well-formed
		for _, path := range paths {
			now, err := os.Stat(path)
			if err != nil {
				continue
			}
			file := f.files[path]
			if file.info == nil || !os.SameFile(file.info, now) ||
				file.info.Size() != now.Size() || !file.info.ModTime().Equal(now.ModTime()) {
				text, _ := os.ReadFile(path)
				file = serverFile{now, serversIn(string(text))}
			}
			found[path] = file
			out = append(out, file.addrs...)
		}
	}
	f.files = found
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// serversIn returns the addresses in lines of resolv.conf, ntp.conf, chrony.conf and systemd's own
// files. It leaves out addresses of the host: another program answers there.
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
			if a := addressIn(w); a.IsValid() && !a.IsLoopback() && !a.IsUnspecified() {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}

// addressIn returns the address of a server that is written with its port, interface and name, or
// some of them: 192.0.2.1:53%eth0#dns.example (systemd.network(5)). The zero Addr: there is none.
func addressIn(server string) netip.Addr {
	server, _, _ = strings.Cut(server, "#")
	server, _, _ = strings.Cut(server, "%")
	if at, err := netip.ParseAddrPort(server); err == nil {
		return at.Addr()
	}
	a, _ := netip.ParseAddr(server)
	return a
}
