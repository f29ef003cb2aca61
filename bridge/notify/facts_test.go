package notify

import (
	"testing"

	"ztbridge/bridge/api"
)

func TestRoutesNameBothVersions(t *testing.T) {
	for want, p := range map[string]api.Policy{
		"five":              {Egress: "five"},
		"five, IPv6 by six": {Egress: "five", Egress6: "six"},
		"six (IPv6 alone)":  {Egress6: "six"},
		"":                  {},
	} {
		p.From, p.Wanted = []string{"all"}, []string{"five", "six"}
		got := routesOf(api.Status{Policies: []api.Policy{p}})
		if len(got) != 1 || got[0].to != want {
			t.Errorf("%+v: %+v, want %q", p, got, want)
		}
	}
}
