package config

import (
	"fmt"
	"net/url"
	"slices"
)

// exitOff is written in place of services where nobody is to be asked.
const exitOff = "off"

// DefaultExitServices returns the services that are asked for the exit address where the
// configuration names none. The first two have certificates for their addresses, so that no name
// has to be resolved; they are among the default targets of probes.
func DefaultExitServices() []string {
	return []string{"https://1.1.1.1/cdn-cgi/trace",
		"https://[2606:4700:4700::1111]/cdn-cgi/trace", "https://ifconfig.co/json"}
}

// exitAddress decodes `exit_address`: off, or a list of URLs.
func (d *decoder) exitAddress(v value) {
	d.cfg.ExitAddress = nil
	items := v.some("without a service nobody can be asked",
		"name services by their URLs, or say `exit_address: off`")
	for _, item := range items {
		text, ok := item.text()
		if !ok || text == exitOff && len(items) == 1 {
			continue
		}
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil:
			item.fail(ErrValue, fmt.Sprintf("%q is not the https:// URL of a service", text),
				"write it as https://ifconfig.co/json, or say `exit_address: off` alone")
		case slices.Contains(d.cfg.ExitAddress, text):
			item.fail(ErrDuplicate, "this service is listed twice", "remove one of them")
		default:
			d.cfg.ExitAddress = append(d.cfg.ExitAddress, text)
		}
	}
}
