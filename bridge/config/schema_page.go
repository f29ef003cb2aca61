package config

import (
	"fmt"
	"slices"
)

// The words of `page.serve`.
const (
	// PageOff: the page is not served.
	PageOff = "off"
	// PageDevices: it is served where devices enter, on the box's addresses there.
	PageDevices = "devices"
	// PageLAN: it is served there, and on the uplink where that is in a private network.
	PageLAN = "lan"
)

const (
	defaultPagePort  = 80
	defaultHTTPSPort = 443
	// besideEndpoint is where the page speaks TLS when the endpoint has defaultHTTPSPort.
	besideEndpoint = 8443
)

// page decodes the section of the page. That it is there switches the page on.
func (d *decoder) page(v value) {
	d.cfg.Page.Serve = PageDevices
	v.object(fields{
		"serve": func(v value) {
			if word, ok := v.oneOf(PageOff, PageDevices, PageLAN); ok {
				d.cfg.Page.Serve = word
			}
		},
		"port": func(v value) { v.portOf(&d.cfg.Page.Port) },
		"https_port": func(v value) {
			d.where["https_port"] = v.pos()
			v.portOf(&d.cfg.Page.HTTPSPort)
		},
	})
}

// pagePorts chooses where the page speaks TLS, beside the endpoint, which is on all addresses.
func (d *decoder) pagePorts() {
	p, e := &d.cfg.Page, d.cfg.Endpoint
	endpointHas := func(port uint16) bool {
		return e != nil && slices.Contains(e.Listen, Listener{"tcp", port})
	}
	at, asked := d.where["https_port"]
	if !asked {
		if p.HTTPSPort = defaultHTTPSPort; endpointHas(defaultHTTPSPort) {
			p.HTTPSPort = besideEndpoint
		}
		return
	}
	if p.HTTPSPort == p.Port || endpointHas(p.HTTPSPort) {
		d.fail(at, ErrOverlap, fmt.Sprintf("port %d is taken by page.port or by the endpoint",
			p.HTTPSPort), "choose another one for the page, such as 8443")
	}
}

// portOf reads a port.
func (v value) portOf(port *uint16) {
	if text, ok := v.text(); ok {
		if p, ok := v.port(text); ok {
			*port = p
		}
	}
}
