package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"ztbridge/bridge/clock"
)

// Names of checks that others depend on.
const (
	link         = "link"
	address      = "address"
	defaultRoute = "default route"
	clockTime    = "clock"
	configured   = "configuration"
	resolving    = "resolving"
	openvpn      = "openvpn"
	zerotierOne  = "zerotier-one"
	tunDevice    = "/dev/net/tun"
	daemon       = "daemon"
	service      = "zerotier service"
	reach        = "Internet"
	connections  = "connections full"
)

// leastOpenVPN is the oldest openvpn that understands the options that tunnels are run with.
var leastOpenVPN = [2]int{2, 6}

// chain lists the checks that the facts call for, each after those that it needs.
func chain(f Facts) []check {
	checks := []check{
		{link, nil, lookLink},
		{address, []string{link}, lookAddress},
		{defaultRoute, []string{address}, lookDefault},
		{clockTime, nil, lookClock},
		{"other VPNs", nil, lookForeign},
		{configured, nil, lookConfig},
	}
	line := []string{defaultRoute} // what needs the box's own line needs
	if f.Daemon != nil && f.Daemon.Reach.Message != "" {
		line = append(line, reach)
		checks = append(checks, check{reach, []string{defaultRoute}, func(f Facts) Result {
			return f.Daemon.Reach.as(Failed)
		}})
	}
	asking := line // what asks now needs one connection more
	if i := f.Daemon.problem(connections); i >= 0 {
		asking = append(slices.Clone(line), connections)
		checks = append(checks, check{connections, nil, f.Daemon.Problems[i].result})
	}
	if f.Config.Tunnels {
		checks = append(checks, check{openvpn, nil, lookOpenVPN}, check{tunDevice, nil, lookTUN},
			check{resolving, asking, lookResolving})
	}
	if len(f.Config.Networks) > 0 {
		checks = append(checks, check{zerotierOne, nil, lookZeroTierOne})
	}
	if f.Daemon == nil {
		return append(checks, check{daemon, []string{configured}, lookDaemon})
	}
	checks = append(append(checks, check{daemon, nil, lookDaemon}),
		nameChecks(f.Host, *f.Daemon)...)
	return append(checks, daemonChecks(*f.Daemon, line)...)
}

// daemonChecks are the checks of what only a running daemon knows. line is what needs the box's own
// line needs.
func daemonChecks(d Daemon, line []string) []check {
	var checks []check
	if len(d.Networks) > 0 {
		checks = append(checks, check{service, []string{zerotierOne},
			func(Facts) Result { return lookService(d) }})
	}
	for _, n := range d.Networks {
		checks = append(checks, check{"network " + n.Name, []string{service, defaultRoute},
			func(Facts) Result { return lookNetwork(n) }})
	}
	for _, e := range d.Egresses {
		name := "egress " + e.Name
		checks = append(checks,
			check{name, needsOf(e, line), func(Facts) Result { return lookEgress(e) }},
			check{"probes " + e.Name, append(slices.Clone(line), name),
				func(Facts) Result { return lookProbes(e) }})
		if e.Prefix.Message != "" {
			checks = append(checks, check{"prefix " + e.Name, []string{name},
				func(Facts) Result { return e.Prefix.as(Warning) }})
		}
	}
	for _, p := range d.Policies {
		// The rule blocks if none of its egresses is connected: the first of them explains it.
		var needs []string
		switch {
		case p.Egress != "":
			needs = []string{"egress " + p.Egress}
		case len(p.Wanted) > 0 && !p.Off:
			needs = []string{"egress " + p.Wanted[0]}
		}
		checks = append(checks, check{p.Name, needs, func(Facts) Result { return lookPolicy(p) }})
	}
	if d.IPTables.Message != "" {
		checks = append(checks, check{"iptables", nil,
			func(Facts) Result { return d.IPTables.as(Warning) }})
	}
	for _, p := range d.Problems {
		if p.Name != connections {
			checks = append(checks, check{p.Name, nil, p.result})
		}
	}
	return append(checks, check{"kernel", nil, func(Facts) Result { return lookKernel(d) }})
}

// problem returns the index of a problem by its name; -1 if the daemon tells of none, or is nil.
func (d *Daemon) problem(name string) int {
	if d == nil {
		return -1
	}
	return slices.IndexFunc(d.Problems, func(p Problem) bool { return p.Name == name })
}

// result tells what the daemon found.
func (p Problem) result(Facts) Result {
	if p.Fails {
		return p.as(Failed)
	}
	return p.as(Warning)
}

// as returns a result that is the trouble.
func (t Trouble) as(v Verdict) Result {
	return Result{Verdict: v, Message: t.Message, Remedy: t.Remedy, Command: t.Command}
}

func needsOf(e Egress, line []string) []string {
	switch e.Kind {
	case "openvpn":
		needs := append(slices.Clone(line), clockTime, openvpn, tunDevice)
		if e.State == "dns-failed" || e.State == "resolving" { // another one's names are no reason
			needs = append(needs, resolving)
		}
		return needs
	case "zerotier":
		return []string{"network " + e.Network}
	default:
		return line
	}
}

func lookLink(f Facts) Result {
	var up []string
	for _, l := range f.Host.Links {
		if l.Up {
			up = append(up, l.Name)
		}
	}
	if len(up) == 0 {
		return failed("no network interface is up",
			"plug in its cable, or join its Wi-Fi, and see: ip link")
	}
	return ok("up: %s", strings.Join(up, ", "))
}

func lookAddress(f Facts) Result {
	var have []string
	for _, l := range f.Host.Links {
		for _, a := range l.Addrs {
			if l.Up && !a.Addr().IsLinkLocalUnicast() {
				have = append(have, l.Name+" "+a.String())
			}
		}
	}
	if len(have) == 0 {
		return failed("no interface has an address",
			"see that DHCP answers, or set an address: ip address")
	}
	return ok("%s", strings.Join(have, ", "))
}

func lookDefault(f Facts) Result {
	if f.Daemon != nil && f.Daemon.Down.Message != "" {
		return f.Daemon.Down.as(Failed)
	}
	if len(f.Host.Defaults) == 0 {
		return failed("this box has no Internet connection: no default route",
			"see that DHCP hands out a gateway, or set one: ip route")
	}
	return ok("%s", strings.Join(f.Host.Defaults, "; "))
}

func lookClock(f Facts) Result {
	now := f.Now.UTC().Format(time.RFC3339)
	if f.Now.Add(clock.Slack).Before(f.Host.Latest) {
		return failed(
			fmt.Sprintf(
				"the clock says %s, but files here are from %s: certificates will look wrong",
				now, f.Host.Latest.UTC().Format(time.RFC3339)), "set it: timedatectl set-ntp true")
	}
	return ok("%s", now)
}

func lookForeign(f Facts) Result {
	if len(f.Host.Foreign) == 0 {
		return ok("none affects this box's own traffic")
	}
	return warning("another program's routes may bypass ztbridge: "+
		strings.Join(f.Host.Foreign, "; "),
		"if exits do not connect, stop the other VPN, or remove its rule or default route")
}

func lookConfig(f Facts) Result {
	if f.Config.Err != "" {
		return failed(f.Config.Err, f.Config.Hint)
	}
	return ok("%s is good", f.Config.Path)
}

func lookOpenVPN(f Facts) Result {
	const install = "install openvpn 2.6 or later: apt install openvpn (Debian 12 has it)"
	p := f.Host.Programs[openvpn]
	switch {
	case p.Path == "":
		return failed("not installed", install)
	case older(p.Version, leastOpenVPN):
		return failed("version "+p.Version+" is too old", install)
	case p.Version == "":
		return warning(p.Path+" does not tell its version", install)
	}
	return ok("%s", p.Version)
}

// older compares the first two numbers of a version. One that cannot be read is not older.
func older(version string, least [2]int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(strings.TrimRight(parts[1], "_abcdefghijklmnopqrstuvwxyz"))
	if err1 != nil || err2 != nil {
		return false
	}
	return slices.Compare([]int{major, minor}, least[:]) < 0
}

func lookTUN(f Facts) Result {
	if f.Host.TUN != "" {
		return failed(f.Host.TUN,
			"load the driver: modprobe tun; in a container, hand /dev/net/tun through")
	}
	return ok("available")
}

func lookResolving(f Facts) Result {
	var dead []string
	for _, l := range f.Host.Lookups {
		if l.Err != "" {
			dead = append(dead, l.Name)
		}
	}
	all := len(f.Host.Lookups)
	switch {
	case len(dead) == 0:
		return ok("%s", countNames(all))
	case len(dead) == all:
		return failed(f.Host.Lookups[0].Err,
			"check this box's DNS server (/etc/resolv.conf) and the name in the profile")
	}
	named := strings.Join(dead[:min(len(dead), manyNames)], ", ")
	if more := len(dead) - manyNames; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return warning(fmt.Sprintf("%d of %d server names cannot be looked up: %s", len(dead), all,
		named),
		"the other servers are used; get a new profile from the provider when these stay away")
}

// countNames says how many names were looked up.
func countNames(n int) string {
	switch n {
	case 0:
		return "no server names to look up"
	case 1:
		return "the server's name can be looked up"
	}
	return fmt.Sprintf("%d server names can be looked up", n)
}

// manyNames is how many names are told one by one.
const manyNames = 5

func lookZeroTierOne(f Facts) Result {
	p := f.Host.Programs[zerotierOne]
	if p.Path == "" {
		return failed("not installed", "install it as https://www.zerotier.com/download says")
	}
	return ok("%s", p.Version)
}

func lookDaemon(f Facts) Result {
	if f.Daemon == nil {
		return failed("ztbridge is not running",
			"start it: systemctl start ztbridge; or see why it ended: journalctl -u ztbridge")
	}
	return ok("running")
}

func lookService(d Daemon) Result {
	switch {
	case d.Service.Message != "":
		return d.Service.as(Failed)
	case d.Unwell.Message != "":
		return d.Unwell.as(Warning)
	}
	return ok("running")
}

func lookNetwork(n Network) Result {
	switch {
	case n.Status != "ok":
		return failed(cmp.Or(n.Trouble.Message, "state: "+n.Status),
			cmp.Or(n.Trouble.Remedy, "wait a few seconds, and ask again"))
	case n.Trouble.Message != "":
		return n.Trouble.as(Warning)
	}
	return ok("%s, %s", n.Iface, words(n.Addresses))
}

func words[T fmt.Stringer](list []T) string {
	var out []string
	for _, v := range list {
		out = append(out, v.String())
	}
	return strings.Join(out, " ")
}

// usable says in what state an egress is that carries traffic. Whether anything answers beyond it
// is for its probes to say.
var usable = map[string]string{"up": "connected", "degraded": "connected"}

func lookEgress(e Egress) Result {
	if e.Usable {
		r := ok("%s", cmp.Or(usable[e.State], e.State))
		r.doubtful = !e.Answers
		return r
	}
	message := cmp.Or(e.Trouble.Message, "not connected ("+e.State+")")
	return failed(message, e.Trouble.Remedy)
}

func lookProbes(e Egress) Result {
	switch {
	case !e.Usable:
		return failed("not connected", "")
	case e.RTT == 0 && e.Answers:
		return ok("none sent yet")
	case e.Answers:
		return ok("answered in %s", e.RTT.Round(100*time.Microsecond))
	case e.Trouble.Message != "":
		return e.Trouble.as(Failed)
	}
	return failed("nothing beyond it answers", "")
}

func lookPolicy(p Policy) Result {
	switch {
	case p.Off:
		return ok("not in force: it is not its time")
	case len(p.Wanted) == 0:
		return ok("blocks, as configured")
	case p.Egress == "":
		return failed("blocked: "+p.Why, "")
	case p.Egress != p.Wanted[0] && !p.Chosen:
		return warning(fmt.Sprintf("leaves by %s: %s", p.Egress, p.Why), "")
	}
	r := ok("leaves by %s: %s", p.Egress, p.Why)
	r.doubtful = true
	return r
}

func lookKernel(d Daemon) Result {
	switch {
	case d.Reconcile != "":
		return failed(d.Reconcile, "see the log: journalctl -u ztbridge")
	case d.Pending != "":
		return failed(fmt.Sprintf("rules or routes differ from the plan: %s",
			strings.Join(strings.Split(strings.TrimSpace(d.Pending), "\n"), "; ")),
			"find the program that changes them (a firewall that is reloaded?): journalctl -u "+
				"ztbridge")
	}
	return ok("rules and routes as planned")
}
