package config

import (
	"strings"
	"testing"
)

// TestPagePorts: by TLS the page is on 443, unless the endpoint is.
func TestPagePorts(t *testing.T) {
	for text, want := range map[string]any{
		"page: {}": 443,
		"page: {}\nendpoint: {address: a.example.org, listen: [udp/443]}":                443,
		"page: {}\nendpoint: {address: a.example.org, listen: [tcp/443]}":                8443,
		"page: {https_port: 9443}":                                                       9443,
		"page: {https_port: 80}":                                                         "taken",
		"page: {port: 443, https_port: 443}":                                             "taken",
		"page: {https_port: 0}":                                                          "not a port",
		"page: {https_port: 443}\nendpoint: {address: a.example.org, listen: [tcp/443]}": "taken",
	} {
		cfg, _, err := load(t, folder(t), minimal+text+"\n")
		switch want := want.(type) {
		case int:
			if err != nil || int(cfg.Page.HTTPSPort) != want {
				t.Errorf("%s: %v, %v", text, cfg, err)
			}
		case string:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", text, err, want)
			}
		}
	}
}
