package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge"
	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/doctor"
	"ztbridge/bridge/health"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/bridge/services"
)

// planTimeout is how long the kernel may differ from the plan: a change may just be under way.
const planTimeout = 300 * time.Millisecond

func (p *program) doctorCommand() *cobra.Command {
	var asJSON, member bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with this box, and what to do about it",
		Long: `Look at everything that a packet needs, from the cable to the policy, and say what
is broken and how to repair it. What only follows from something else is not counted.
It works without a daemon too, as far as that goes, and changes nothing.

With --member, print what to do on the members of the ZeroTier networks so that they
leave by this box, with the box's own addresses filled in.

Exit codes: 0 nothing is broken (there may be warnings); 3 something is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, names, files, err := p.facts(cmd.Context())
			if err != nil {
				return err
			}
			if member {
				return p.showMembers(f)
			}
			f.Host = doctor.Observe(cmd.Context(), files, names)
			report := doctor.Diagnose(f)
			text := p.headline(cmd.Context()) + "\n" + report.String()
			if err := p.show(report, text, asJSON); err != nil {
				return err
			}
			if len(report.Failures()) > 0 {
				return errState
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	cmd.Flags().BoolVar(&member, "member", false, "print what to do on members instead")
	cmd.MarkFlagsMutuallyExclusive("json", "member")
	return cmd
}

// headline says first what status says first: whether devices get through, and how the Internet
// sees them.
func (p *program) headline(ctx context.Context) string {
	s, err := p.daemon().Status(ctx)
	if err != nil {
		s, err = bridge.Offline(p.options())
	}
	if err != nil { // the checks say why
		return ""
	}
	return api.RenderHeadline(s)
}

func (p *program) showMembers(f doctor.Facts) error {
	networks := f.Config.Networks
	if f.Daemon != nil && len(f.Daemon.Networks) > 0 {
		networks = f.Daemon.Networks
	}
	if len(networks) == 0 {
		hint := "name one under `zerotier.networks`"
		if f.Config.Err != "" {
			hint = "the configuration cannot be read: ztbridge config check"
		}
		return &api.HintedError{Err: errors.New("this box is in no ZeroTier network"), Hint: hint}
	}
	_, err := fmt.Fprint(p.out, doctor.Members(networks))
	return err
}

// facts asks configuration and daemon. names are those of the tunnels' servers, files what the
// configuration consists of.
func (p *program) facts(ctx context.Context) (f doctor.Facts, names, files []string, err error) {
	f = doctor.Facts{Now: time.Now(), Config: doctor.Config{Path: p.configPath}}
	files = []string{p.configPath}
	if _, err := services.Check(p.configPath, p.overrides); err != nil {
		f.Config.Err, f.Config.Hint = err.Error(), api.Hint(err)
	}
	if cfg, _, err := config.Load(p.configPath, p.overrides); err == nil {
		for _, n := range cfg.ZeroTier.Networks {
			f.Config.Networks = append(f.Config.Networks, doctor.Network{ID: n.ID, Name: n.Name})
		}
		for _, e := range cfg.Egresses {
			if e.OpenVPN != nil {
				f.Config.Tunnels = true
				files = append(files, e.OpenVPN.Profile)
				names = append(names, serverNames(e.OpenVPN.Profile)...)
			}
		}
	}
	s, err := p.daemon().Status(ctx)
	switch {
	case errors.Is(err, api.ErrNotRunning):
		return f, names, files, nil
	case err != nil:
		return f, nil, nil, err
	}
	f.Daemon, err = p.daemonFacts(ctx, s)
	return f, names, files, err
}

// serverNames returns the names that have to be resolved for a profile's servers.
func serverNames(path string) []string {
	parsed, _, err := profile.Load(path, profile.Options{})
	if err != nil {
		return nil // the check of the configuration says why
	}
	var hosts, names []string
	for _, r := range parsed.Remotes {
		if _, err := netip.ParseAddr(r.Host); err != nil && !slices.Contains(hosts, r.Host) {
			hosts = append(hosts, r.Host)
			names = append(names, parsed.Question(r.Host))
		}
	}
	return names
}

func (p *program) daemonFacts(ctx context.Context, s api.Status) (*doctor.Daemon, error) {
	d := &doctor.Daemon{
		Service:   trouble(s, health.Error, "", inArea(health.Service)),
		Unwell:    trouble(s, health.Warning, "", inArea(health.Service)),
		Down:      trouble(s, health.Error, "", oneOf(health.WANDown)),
		Reach:     trouble(s, health.Error, "", reaching),
		Reconcile: s.Reconcile.Error,
		IPTables:  trouble(s, health.Warning, "", oneOf(health.IPTables)),
		Problems:  problems(s),
	}
	for _, n := range s.Networks {
		network := doctor.Network{
			ID: n.ID, Name: n.Name, Iface: n.Interface, Status: n.Status,
			Trouble: trouble(s, health.Warning, n.Name, inArea(health.Network)),
		}
		for _, a := range n.Addresses {
			network.Addresses = append(network.Addresses, a.Addr())
		}
		d.Networks = append(d.Networks, network)
	}
	for _, i := range s.Ingresses {
		d.Ingresses = append(d.Ingresses, i.Interface)
	}
	for _, e := range s.Egresses {
		d.Egresses = append(d.Egresses, egressFacts(s, e))
	}
	for _, rule := range s.Policies {
		d.Policies = append(d.Policies, doctor.Policy{
			Name: rule.Name, Wanted: rule.Wanted, Egress: rule.Egress,
			Chosen: rule.Egress == s.Override, Off: rule.Off, Why: rule.Why,
		})
	}
	pending, err := p.daemon().Plan(ctx)
	if err == nil && pending != "" {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(planTimeout):
		}
		pending, err = p.daemon().Plan(ctx)
	}
	if err != nil && d.Reconcile == "" {
		d.Reconcile = err.Error()
	}
	d.Pending = pending
	return d, nil
}

// problems returns what status tells of and no other check looks at. What only follows from
// another problem is left out.
func problems(s api.Status) []doctor.Problem {
	var out []doctor.Problem
	var present []health.Code
	for _, c := range s.Conditions {
		present = append(present, c.Code)
	}
	told := map[string]bool{} // networks whose own check tells of a problem
	for _, c := range s.Conditions {
		area := health.AreaOf(c.Code)
		if area == health.Network && !told[c.Subject] {
			told[c.Subject] = true
			continue
		}
		if !c.Severity.AtLeast(health.Warning) || health.Explains(c.Code, present) != "" ||
			area == health.Service || area == health.Tunnel ||
			oneOf(health.IPTables, health.PrefixUnusable, health.MemberUnreachable,
				health.EgressRing, health.ViaUnusable, health.ProbesUnanswered,
				health.ReconcileFailed, health.WANDown, health.ClockWrong)(c.Code) ||
			c.Subject == "" && reaching(c.Code) {
			continue
		}
		name := strings.ReplaceAll(string(c.Code), "-", " ")
		out = append(out, doctor.Problem{Name: name, Fails: c.Severity == health.Error,
			Trouble: doctor.Trouble{Message: c.Message, Remedy: c.Remedy, Command: c.Command}})
	}
	return out
}

func egressFacts(s api.Status, e api.Egress) doctor.Egress {
	out := doctor.Egress{
		Name: e.Name, Kind: e.Kind, State: e.State, Usable: e.Usable,
		Answers: e.State != "degraded" && e.State != "unreachable",
		RTT:     time.Duration(e.RTT * float64(time.Second)),
		Prefix:  trouble(s, health.Warning, e.Name, oneOf(health.PrefixUnusable)),
		Trouble: trouble(s, health.Warning, e.Name, oneOf(health.MemberUnreachable)),
	}
	if !e.Usable && out.Trouble.Message == "" {
		out.Trouble = trouble(s, health.Warning, e.Name, func(c health.Code) bool {
			return health.AreaOf(c) == health.Tunnel ||
				c == health.EgressRing || c == health.ViaUnusable
		})
	}
	if e.Usable && out.Trouble.Message == "" {
		out.Trouble = trouble(s, health.Warning, e.Name, oneOf(health.ProbesUnanswered))
	}
	for _, n := range s.Networks {
		if e.Kind == "zerotier" && n.Interface == e.Interface {
			out.Network = n.Name
		}
	}
	return out
}

// trouble returns a subject's first problem of the matching kinds that is at least that severe.
func trouble(s api.Status, least health.Severity, subject string,
	matches func(health.Code) bool) doctor.Trouble {
	for _, c := range s.Conditions {
		if c.Severity.AtLeast(least) && c.Subject == subject && matches(c.Code) {
			return doctor.Trouble{Message: c.Message, Remedy: c.Remedy, Command: c.Command}
		}
	}
	return doctor.Trouble{}
}

// reaching tells codes of a box that reaches nothing beyond its router.
var reaching = oneOf(health.WANSilent, health.WANSignIn)

func inArea(area health.Area) func(health.Code) bool {
	return func(c health.Code) bool { return health.AreaOf(c) == area }
}

func oneOf(codes ...health.Code) func(health.Code) bool {
	return func(c health.Code) bool { return slices.Contains(codes, c) }
}
