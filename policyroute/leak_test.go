package policyroute_test

import (
	"maps"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

func allScenes() map[string]func() policyroute.Intent {
	all := map[string]func() policyroute.Intent{
		"many": func() policyroute.Intent { return policytest.Many(150, 2) }}
	maps.Copy(all, scenes)
	return all
}

func TestScenesAreLeakFree(t *testing.T) {
	for name, scene := range allScenes() {
		t.Run(name, func(t *testing.T) {
			if err := policyroute.LeakFree(compile(t, scene()), scene()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheFilterAloneHolds(t *testing.T) {
	for name, scene := range allScenes() {
		t.Run(name, func(t *testing.T) {
			s := compile(t, scene())
			if err := policyroute.LeakFree(policyroute.State{Nft: s.Nft, Sysctls: s.Sysctls},
				scene()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Each layer must hold when the three others have failed, and the simulation must see the leak when
// all have: otherwise it proves nothing.
func TestEachLayerAloneHolds(t *testing.T) {
	device, table, rule, filter := policyroute.LayerDevice, policyroute.LayerTable,
		policyroute.LayerRule, policyroute.LayerFilter
	tests := []struct {
		name   string
		scenes []string
		failed []policyroute.Layer
	}{
		// A device holds what was assigned to it; in the other scenes some packets are assigned to
		// none.
		{"device", []string{"uno"}, []policyroute.Layer{table, rule, filter}},
		// A table holds what some policy sends to it.
		{"table", []string{"uno", "duo", "dinosaur"}, []policyroute.Layer{device, rule, filter}},
		{"rule", []string{"uno", "duo", "dinosaur", "exit", "many"},
			[]policyroute.Layer{device, table, filter}},
		{"filter", []string{"uno", "duo", "dinosaur", "exit", "many"},
			[]policyroute.Layer{device, table, rule}},
	}
	for _, test := range tests {
		for _, name := range test.scenes {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				in := allScenes()[name]()
				s := compile(t, in).Without(test.failed...)
				if err := policyroute.EscapeFree(s, in); err != nil {
					t.Error(err)
				}
				all := s.Without(device, table, rule, filter)
				if policyroute.EscapeFree(all, in) == nil {
					t.Error("without any layer nothing leaks: the simulation is blind")
				}
			})
		}
	}
}

// The simulation must find faults of every kind that a compiler could make.
func TestLeakFreeSeesFaults(t *testing.T) {
	open := func(s *policyroute.State) { s.Nft = policyroute.Ruleset{} }
	tests := []struct {
		name  string
		scene func() policyroute.Intent
		spoil func(*policyroute.State)
	}{
		{"filter gone: outsiders reach members", policytest.Uno, open},
		{"table leads to a stranger", policytest.Uno, func(s *policyroute.State) {
			open(s)
			for i := range s.Routes {
				if s.Routes[i].Dev == policytest.Tunnel0 {
					s.Routes[i].Dev = "foreign0"
				}
			}
		}},
		{"filter accepts everything from an ingress", policytest.Duo, func(s *policyroute.State) {
			for i, c := range s.Nft.Chains {
				if c.Name == "from_"+policytest.Ingress0 {
					s.Nft.Chains[i].Rules = []policyroute.NftRule{
						{Verdict: policyroute.NftVerdict{Kind: "accept"}}}
				}
			}
			s.Rules = nil
		}},
		{"filter judges nothing but what opens a connection", policytest.Duo,
			func(s *policyroute.State) {
				s.Rules = nil
				for _, c := range s.Nft.Chains {
					for i := range c.Rules {
						if c.Name == "forward" && c.Rules[i].Verdict.Kind == "goto" {
							c.Rules[i].Syn, c.Rules[i].Verdict.Kind = true, "jump"
						}
					}
				}
			}},
		{"filter accepts what opens a connection", policytest.Duo, func(s *policyroute.State) {
			s.Rules = nil
			for _, c := range s.Nft.Chains {
				if len(c.Rules) > 0 && c.Rules[0].Syn {
					c.Rules[0].Verdict.Chain = "all"
				}
			}
			s.Nft.Chains = append(s.Nft.Chains, policyroute.NftChain{Name: "all",
				Rules: []policyroute.NftRule{{Verdict: policyroute.NftVerdict{Kind: "accept"}}}})
		}},
		{"members meet uninvited", policytest.Duo, func(s *policyroute.State) {
			for i, c := range s.Nft.Chains {
				if c.Name == "from_"+policytest.Ingress0 {
					open := policyroute.NftRule{OIF: policytest.Ingress1,
						Verdict: policyroute.NftVerdict{Kind: "accept"}}
					s.Nft.Chains[i].Rules = append([]policyroute.NftRule{open}, c.Rules...)
				}
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := compile(t, test.scene())
			test.spoil(&s)
			if policyroute.LeakFree(s, test.scene()) == nil {
				t.Error("not seen")
			}
		})
	}
}
