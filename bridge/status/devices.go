package status

import (
	"fmt"
	"slices"
	"strings"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
)

// devices tells of each device that chose an exit where its traffic goes now.
func devices(in Input) []api.Device {
	s, out := in.Snapshot, []api.Device{}
	for _, d := range s.Devices {
		if d.Egress == "" {
			continue
		}
		device := api.Device{Kind: d.Kind(), ID: d.String(), Network: d.Network, Name: d.Title(),
			Addresses: d.Addresses(s), Choice: d.Egress, Since: d.Since.UTC(),
			Off: !slices.Contains(decide.Offers(in.Config, s, d), d.Egress)}
		device.Rule, device.Egress, device.Egress6 = decide.DeviceExits(in.Config, s,
			in.Applied.Intent, d)
		out = append(out, device)
	}
	return out
}

// deviceProblems tells of choices that are not possible any more, and of addresses that two members
// claim.
func deviceProblems(cfg *config.Config, s decide.Snapshot) []health.Problem {
	var out []health.Problem
	for _, d := range s.Devices {
		offers := decide.OffersAtAnyTime(cfg, s, d)
		if d.Egress == "" || slices.Contains(offers, d.Egress) {
			continue
		}
		remedy := "forget the choice"
		if len(offers) > 0 {
			remedy = "choose " + strings.Join(offers, " or ") + " instead, or forget the choice"
		}
		out = append(out, health.Problem{Code: health.ChoiceGone, Subject: d.Title(),
			Message: fmt.Sprintf("%s chose %s, which its rule no longer offers: it uses the "+
				"exit of the rule", d.Title(), d.Egress),
			Remedy: remedy, Command: "ztbridge egress reset --for " + d.String()})
	}
	for _, c := range s.Claims {
		out = append(out, health.Problem{Code: health.AddressTaken,
			Subject: c.Device.Title() + " " + c.Addr.String(),
			Message: fmt.Sprintf("%s is the address of %s, and member %s answers for it as well: "+
				"what that member sends from it is dropped", c.Addr, c.Device.Title(), c.By),
			Remedy: fmt.Sprintf("if the network gave it to %s now, forget what %s chose; if not, "+
				"bar that member: ztbridge network deauthorize %s", c.By, c.Device.Title(), c.By),
			Command: "ztbridge egress reset --for " + c.Device.String()})
	}
	return out
}
