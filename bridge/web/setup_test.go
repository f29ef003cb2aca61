package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/web/browsertest"
)

// fresh is a box that nobody has set up.
func fresh() api.Status {
	s := working()
	s.State, s.Summary = api.Closed, "This box is not set up yet."
	s.Networks, s.Ingresses, s.Egresses, s.Policies, s.Clients = nil, nil, nil, nil, nil
	s.Conditions = []api.Condition{{Code: health.NotSetUp, Severity: health.Error,
		Message: "this box is not set up yet"}}
	return s
}

// joined is the same box in a network that has not let it in, or has.
func joined(status string) api.Status {
	s := fresh()
	s.Networks = working().Networks
	s.Networks[0].Status = status
	if status == "ok" {
		s.Networks[0].Addresses = []netip.Prefix{netip.MustParsePrefix("10.147.17.1/24")}
		s.Conditions = append(s.Conditions, api.Condition{Code: health.IngressUncovered,
			Subject: s.Networks[0].Name, Severity: health.Error, Message: "no rule is for it",
			DependsOn: []health.Code{health.NotSetUp}})
	}
	return s
}

// TestSetupInBrowser: whoever claims a box is led on to a network, sees it let the box in, and gets
// to the profile. A mistyped id is told, and one that exists can be corrected.
func TestSetupInBrowser(t *testing.T) {
	t.Parallel()
	s, server, _, _ := unclaimed(t, true)
	of := s.config.Backend.(*box)
	onLAN := fresh()
	onLAN.WAN.Interface = "zt0" // of served
	of.set(onLAN)
	service := serveImports(t, s, func(r api.ImportRequest) []api.Progress {
		if r.Network == "abcdef0123000009" {
			return []api.Progress{{Done: true, Error: "it was edited meanwhile", Hint: "try again"}}
		}
		of.set(joined(api.NetworkDenied))
		return []api.Progress{{Done: true}}
	})
	b := browsertest.New(t, browsertest.Options{Allowed: []string{"422"}})
	b.Open(server.URL)
	b.Type("#password", ownerPassword)
	b.Type("#again", ownerPassword+"\n")
	b.WaitFor(`document.querySelector("#step-network.is-info")`)
	b.Type("#id", "abcdef0123000009\n")
	b.WaitFor(`document.querySelector("#fault").textContent.includes("was edited meanwhile. Try")`)
	b.Open(server.URL + setupPage)
	b.Type("#id", "ABCDEF0123000001\n")
	b.WaitFor(`document.querySelector("#step-network.is-warn").textContent.includes("a1b2c3d4e5")`)
	if r, _, _ := service.last(); r.Verb != api.ImportJoin || r.Network != "abcdef0123000001" ||
		r.Instead != "" {
		t.Errorf("the service was asked for %+v", map[string]string{"verb": string(r.Verb),
			"network": r.Network, "instead": r.Instead})
	}
	of.set(joined("ok")) // seen without a click
	b.WaitFor(`document.querySelector("#step-network.is-good").textContent.includes("10.147.17.1")`)
	done := working()
	done.Networks = joined("ok").Networks
	of.set(done)
	b.WaitFor(`document.querySelector("#step-traffic.is-good")`)
	b.Open(server.URL + setupPage)
	b.WaitFor(`document.querySelector("#code").src.startsWith("data:image/png")`)
	b.WaitFor(`document.querySelector("[name=instead]").value === "abcdef0123000001"`)
	of.set(fresh())
	b.Click("#to-profile")
	b.WaitFor(`document.querySelector("#name").value === "provider"`)
	b.Open(server.URL + "/")
	b.WaitFor(`document.querySelector('#problems a[href="/setup"]')`)
}

// TestSetupIsTheOwners alone, and by its own forms.
func TestSetupIsTheOwners(t *testing.T) {
	of := &box{}
	of.set(fresh())
	s, server := served(t, of)
	service := serveImports(t, s, func(api.ImportRequest) []api.Progress {
		return []api.Progress{{Done: true}}
	})
	form := url.Values{"network": {"abcdef0123000001"}}
	for _, who := range []string{"nobody", "viewer", "owner"} {
		v := visit(t, server.URL)
		token := v.as(who)
		for _, a := range []action{
			{http.MethodGet, setupPage, nil, answers(303, 403, 200)},
			{http.MethodPost, setupPage + "/network", nil, answers(401, 403, 422)},
		} {
			response, body := v.ask(a.method, a.path, url.Values{"token": {token}})
			if want := a.want[who]; response.StatusCode != want {
				t.Errorf("%s: %s %s: %d, want %d:\n%s", who, a.method, a.path,
					response.StatusCode, want, body)
			}
		}
		if who != "owner" {
			continue
		}
		if response, _ := v.ask(http.MethodPost, setupPage+"/network", form); response.
			StatusCode != http.StatusForbidden {
			t.Errorf("without a token: %d", response.StatusCode)
		}
		form.Set("token", token)
		for name, edit := range foreign {
			if response, _ := v.ask(http.MethodPost, setupPage+"/network", form,
				edit); response.StatusCode < 400 {
				t.Errorf("%s: %d", name, response.StatusCode)
			}
		}
		form.Set("network", "not an id")
		if response, body := v.ask(http.MethodPost, setupPage+"/network", form); response.
			StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, "not an id") {
			t.Errorf("not an id: %d\n%s", response.StatusCode, body)
		}
	}
	if r, _, n := service.last(); n > 0 {
		t.Errorf("the service was asked for the network %q", r.Network)
	}
}
