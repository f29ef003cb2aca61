package zerotier

import (
	"encoding/base32"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// ifaceEncoding is RFC 4648's alphabet in lower case.
var ifaceEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(
	base32.NoPadding)

// Iface returns the name that zerotier-one on Linux gives to the network's interface by default. It
// is "zt" and eight characters that follow from the id. A devicemap in the service's home
// directory, or an existing interface of that name, can change it: Status has the name in use.
func (n NetworkID) Iface() string {
	// The upper 40 bits (the controller's address) folded over the lower 40.
	folded := uint64(n) ^ uint64(n)>>24
	return "zt" + ifaceEncoding.EncodeToString([]byte{
		byte(folded >> 32), byte(folded >> 24), byte(folded >> 16), byte(folded >> 8), byte(folded),
	})
}

// IfaceIn returns the name that the service with the given home directory will use. That is the one
// in its devicemap, else Iface.
func IfaceIn(home string, id NetworkID) string {
	raw, err := os.ReadFile(filepath.Join(home, "devicemap"))
	if err != nil {
		return id.Iface() // it seldom exists
	}
	if name := deviceMap(raw)[id.String()]; name != "" {
		return name
	}
	return id.Iface()
}

// deviceMap reads lines of the form <network id>=<interface>. Like the service, it wants lower-case
// ids, takes no spaces away, lets the last line of an id win and cuts names to what fits the
// kernel.
func deviceMap(raw []byte) map[string]string {
	const maxName = 15
	out := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		fields := strings.FieldsFunc(line,
			func(r rune) bool { return strings.ContainsRune("\r\n=", r) })
		if len(fields) >= 2 {
			out[fields[0]] = fields[1][:min(len(fields[1]), maxName)]
		}
	}
	return out
}

// interfaces returns the indexes of the interfaces in this network namespace, by name.
func interfaces() (map[string]int, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := make(map[string]int, len(list))
	for _, l := range list {
		out[l.Name] = l.Index
	}
	return out, nil
}
