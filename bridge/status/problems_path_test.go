package status

import (
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/pathcheck"
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// problemsOf returns the problems, by code.
func problemsOf(in Input) map[health.Code][]health.Problem {
	if in.Decided.Intent.Egresses == nil {
		in.Decided = decide.Decide(in.Config, in.Snapshot)
	}
	out := map[health.Code][]health.Problem{}
	for _, p := range problems(in) {
		out[p.Code] = append(out[p.Code], p)
	}
	return out
}

// Pings that are answered prove no connections: that those which once opened open no more is told.
// A host that never answered them says nothing.
func TestConnectionsThatDoNotOpen(t *testing.T) {
	for name, ever := range map[string]bool{"as before": false, "no more": true} {
		in := well(t)
		setPath(&in, true, func(p *decide.Paths, key string) {
			p.Traced = map[string]bool{key: true}
			r := p.Results[key]
			r.Outcomes[pathcheck.DNS] = pathcheck.Outcome{Asked: true, Answered: true}
			r.Outcomes[pathcheck.TCP] = pathcheck.Outcome{Asked: true}
			r.Ever[pathcheck.TCP] = ever
			p.Results[key] = r
		})
		found := problemsOf(in)[health.PathBroken]
		if ever != (len(found) == 1) || ever && !strings.Contains(found[0].Message, "by TCP") {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// What diverts or blocks devices explains that the box's own clients get nothing.
func TestOneCauseIsToldOnce(t *testing.T) {
	for name, cause := range map[string]func(*decide.Paths){
		"a routing rule": func(p *decide.Paths) {
			p.Diversions = []kernel.Diversion{{Iface: "br-lan", Rule: "50: from all lookup main",
				Src: netip.MustParseAddr("10.5.0.9")}}
		},
		"a filter of answers before routing": func(p *decide.Paths) {
			p.IfaceBlocks = []kernel.IfaceBlock{{Iface: "br-lan", Block: kernel.Block{
				Program: "nft", Table: "inet f", Chain: "c", Hook: "prerouting"}}}
		},
	} {
		in := well(t)
		setPath(&in, false, func(p *decide.Paths, key string) {
			p.Traced = map[string]bool{key: true}
			cause(p)
		})
		found := problemsOf(in)
		if alone := withoutCause(in); len(alone[health.PathBroken]) == 0 {
			t.Errorf("%s: without it there is no problem: %+v", name, alone)
		}
		if len(found[health.PathBroken])+len(found[health.EgressSilent]) > 0 ||
			len(found[health.PathDiverted])+len(found[health.PathBlocked]) != 1 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// withoutCause returns the problems that are told where no cause is found.
func withoutCause(in Input) map[health.Code][]health.Problem {
	in.Snapshot.Paths.Diversions, in.Snapshot.Paths.IfaceBlocks = nil, nil
	return problemsOf(in)
}

// A resolver that answers again, and waits until it is trusted, is not said to be silent.
func TestResolverThatIsBack(t *testing.T) {
	in := well(t)
	of := decide.ResolverOf{Egress: "provider", Addr: netip.MustParseAddr("10.8.0.1")}
	in.Decided.Intent.Egresses = []policyroute.Egress{{Name: "provider",
		DNS: []netip.Addr{of.Addr}}}
	in.Snapshot.DeadResolvers = decide.DeadResolvers{of: true}
	in.Snapshot.Probes["provider"] = probe.Status{Grade: probe.Stable}
	for _, back := range []bool{false, true} {
		in.Snapshot.BackResolvers = decide.DeadResolvers{of: back}
		p := problemsOf(in)[health.DNSBackup]
		if len(p) != 1 || back != strings.Contains(p[0].Message, "answers again") ||
			back != (p[0].Fill().Severity == health.Info) {
			t.Errorf("back: %v: %+v", back, p)
		}
	}
}
