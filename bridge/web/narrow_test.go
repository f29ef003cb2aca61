package web

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"ztbridge/bridge/api"
	"ztbridge/bridge/web/browsertest"
)

// TestLongNamesOnNarrowScreens: what strangers are called makes no page wider than a small phone,
// and letters that run from right to left do not reorder what stands beside them.
func TestLongNamesOnNarrowScreens(t *testing.T) {
	t.Parallel()
	of := remembering()
	status := working()
	status.Clients = nil
	for _, name := range []string{strings.Repeat("x", 200), strings.Repeat("\u0645\u0648", 100),
		strings.Repeat("\U0001F468\u200d\U0001F469", 60)} {
		status.Networks = append(slices.Clone(status.Networks), api.Network{ID: "abcdef0123000002",
			Name: name, Title: name, Status: "ok"})
		status.Egresses = append(status.Egresses, api.Egress{Name: name, Kind: "openvpn",
			State: "up", Usable: true, Remote: "udp " + name + ":1194"})
		status.Clients = append(status.Clients, api.Client{Name: name, Listener: "udp/1194",
			Addresses: addrs("10.83.64.9")})
		status.Conditions = append(status.Conditions, api.Condition{Code: "tunnel-auth-failed",
			Subject: name, Message: name + ": the server said " + name, Remedy: name})
	}
	of.set(status)
	s, server := served(t, of)
	withClients(s, newRoster(t, strings.Repeat("y", 48)))
	b := browsertest.New(t, browsertest.Options{})
	b.Do(func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, tab, emulation.SetDeviceMetricsOverride,
			emulation.SetDeviceMetricsOverrideParams{Width: 320, Height: 640, DeviceScaleFactor: 1,
				Mobile: true})
		return chromedp.Void{}, err
	})
	b.Login(server.URL, ownerPassword)
	for _, path := range []string{"/", "/clients", "/profile", "/activity", "/maintenance",
		"/setup"} {
		b.Open(server.URL + path)
		b.WaitFor(`document.readyState === "complete"`)
		wide := browsertest.Get(b, chromedp.Evaluate[string](`(() => {
			if (document.documentElement.scrollWidth <= 320) { return "" }
			const out = [...document.querySelectorAll("body *")].filter((e) =>
				e.getBoundingClientRect().right > 321 && !e.closest("table"))
			return document.documentElement.scrollWidth + " " + out.map((e) => e.tagName + "." +
				e.className + " " + e.textContent.slice(0, 20)).join("; ").slice(0, 600)
		})()`))
		if wide != "" {
			t.Error(fmt.Sprintf("%s is wider than 320 pixels: ", path) + wide)
		}
	}
}
