package config

// The words of `page.serve`.
const (
	// PageOff: the page is not served.
	PageOff = "off"
	// PageDevices: it is served where devices enter, on the box's addresses there.
	PageDevices = "devices"
	// PageLAN: it is served there, and on the uplink where that is in a private network.
	PageLAN = "lan"
)

const defaultPagePort = 80

// page decodes the section of the page. That it is there switches the page on.
func (d *decoder) page(v value) {
	d.cfg.Page.Serve = PageDevices
	v.object(fields{
		"serve": func(v value) {
			if word, ok := v.oneOf(PageOff, PageDevices, PageLAN); ok {
				d.cfg.Page.Serve = word
			}
		},
		"port": func(v value) {
			text, ok := v.text()
			if !ok {
				return
			}
			if port, ok := v.port(text); ok {
				d.cfg.Page.Port = port
			}
		},
	})
}
