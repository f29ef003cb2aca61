package lab

import (
	"context"
	"fmt"
	"strings"
)

// LikeCards makes the present interfaces of the lab's hosts treat TCP as plain network cards do.
// Frames leave with one segment each and are bundled again where they arrive (ethtool(8): tso,
// gro). By themselves veth pairs pass on whole bundles of up to 64 kB, so that cutting the same
// data into twice the segments costs next to nothing. For measurements; needs Ethtool. It can be
// called again when there are more.
func (l *Lab) LikeCards(ctx context.Context) error {
	for _, host := range l.present() {
		links, err := host.Run(ctx, "ip", "-brief", "link", "show", "type", "veth")
		if err != nil {
			return fmt.Errorf("listing the interfaces of %s: %w", host.Label, err)
		}
		for line := range strings.Lines(links) {
			iface, _, _ := strings.Cut(strings.Fields(line)[0], "@")
			if _, err := host.Run(ctx, "ethtool", "-K", iface, "tso", "off", "gro",
				"on"); err != nil {
				return fmt.Errorf("making %s of %s like a card: %w", iface, host.Label, err)
			}
		}
	}
	return nil
}
