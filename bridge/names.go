package bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"ztbridge/bridge/config"
	"ztbridge/policyroute"
)

// maxIfaceName is the longest name of an interface (IFNAMSIZ - 1, linux/if.h).
const maxIfaceName = 15

// tunnelDevice returns the TUN device of an egress: it says whose it is where the name fits, and is
// the same after every restart, so that a device that outlived its daemon is found again.
func tunnelDevice(egress string) string {
	name := policyroute.TunPrefix + "-" + egress
	if len(name) <= maxIfaceName {
		return name
	}
	sum := sha256.Sum256([]byte(egress))
	tail := hex.EncodeToString(sum[:])[:4]
	return name[:maxIfaceName-len(tail)] + tail
}

// isOurs says whether a device of that name is one of ours.
func isOurs(device string) bool { return strings.HasPrefix(device, policyroute.TunPrefix) }

// listenerDevice returns the TUN device of an endpoint's listener. The dot keeps it apart from
// every tunnelDevice.
func listenerDevice(l config.Listener) string {
	return fmt.Sprintf("%s.%s%d", policyroute.TunPrefix, l.Proto, l.Port)
}

// listKey identifies an ordered list of egresses.
func listKey(list []string) string {
	return strings.Join(list, " ")
}
