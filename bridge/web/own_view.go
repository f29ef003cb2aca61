package web

import (
	"fmt"
	"slices"

	"ztbridge/bridge/api"
)

// ownView is what a device's own page shows, as text: of other devices it tells nothing.
type ownView struct {
	Name, Kind string
	Tone       tone
	Title      string
	Facts      []string
	Note       string // why the choice is not what is used; empty: it is, or there is none
	Exits      []ownExit
	Chosen     bool // an exit was chosen
	Token      string
}

// ownExit is an exit that the device may choose.
type ownExit struct {
	Name, Kind, Country string
	Up, Used, Chosen    bool
}

// own makes the view of a device.
func (s *Server) own(of api.Identity, token string) ownView {
	status := s.feed.latest().status
	if status.Time.IsZero() { // the feed has not looked yet
		status = s.config.Backend.Status()
	}
	v := ownViewOf(of, status)
	v.Token = token
	return v
}

func ownViewOf(of api.Identity, s api.Status) ownView {
	v := ownView{Name: of.Name, Kind: "ZeroTier device " + of.ID, Tone: good,
		Title: "Leaves by " + of.Egress, Chosen: of.Choice != ""}
	if of.Kind == "client" {
		v.Kind = "OpenVPN client"
	}
	switch {
	case of.Egress == "":
		v.Tone, v.Title = bad, "Blocked: no exit carries what this device sends now"
	case of.Egress6 != "":
		v.Title += ", IPv6 by " + of.Egress6
	}
	for _, name := range []string{of.Egress, of.Egress6} {
		if seen := exitNamed(s, name).ExitAddresses; len(seen) > 0 {
			v.Facts = append(v.Facts, "The Internet sees "+texts(seen))
		}
	}
	if t, ok := api.TrafficOf(s.Traffic, of); ok {
		v.Facts = append(v.Facts, trafficOf(t, s.Time))
	}
	for _, name := range of.Offers {
		e := exitNamed(s, name)
		one := ownExit{Name: name, Kind: kindNames[e.Kind], Up: e.Usable,
			Used: name == of.Egress || name == of.Egress6, Chosen: name == of.Choice}
		if len(e.ExitAddresses) > 0 {
			one.Country = e.ExitAddresses[0].Country
		}
		v.Exits = append(v.Exits, one)
	}
	v.Note = noteOf(of, exitNamed(s, of.Choice))
	if v.Note != "" && v.Tone == good {
		v.Tone = warn
	}
	return v
}

// noteOf says why a device's choice is not what it uses.
func noteOf(of api.Identity, choice api.Egress) string {
	switch {
	case of.Choice == "" || of.Choice == of.Egress || of.Choice == of.Egress6:
		return ""
	case !slices.Contains(of.Offers, of.Choice):
		return fmt.Sprintf("You chose %s, which this device may not use any more.", of.Choice)
	case !choice.Usable:
		return fmt.Sprintf("You chose %s, which is not available now.", of.Choice)
	}
	return fmt.Sprintf("You chose %s. The box does not use it now.", of.Choice)
}

// exitNamed returns an exit of a status, without anything but its name if there is none.
func exitNamed(s api.Status, name string) api.Egress {
	i := slices.IndexFunc(s.Egresses, func(e api.Egress) bool { return e.Name == name })
	if i < 0 {
		return api.Egress{Name: name}
	}
	return s.Egresses[i]
}
