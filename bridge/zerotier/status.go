package zerotier

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"ztbridge/bridge/health"
)

// joinTimeout is how long a controller may take to answer before that counts as a problem. The time
// from the join to OK was measured as 1.9-5.0 s.
const joinTimeout = 15 * time.Second

// facts holds one observation of the service: the only input of the status functions.
type facts struct {
	err      error // why the service could not be asked; nil when it answered
	program  bool  // zerotier-one is installed
	node     nodeAnswer
	networks map[NetworkID]networkAnswer
	peers    []peerAnswer
	links    map[string]int // interface index by name, of those that exist
}

// serviceStatus returns the state of the service with cause and remedy, without Since.
func serviceStatus(f facts) ServiceStatus {
	err := f.err
	if err == nil {
		return ServiceStatus{State: ServiceOK}
	}
	cause := err.Error()
	const start = "start it: systemctl enable --now zerotier-one"
	switch {
	case errors.Is(err, ErrNotRunning) && !f.program:
		return ServiceStatus{State: ServiceNotInstalled, Cause: "zerotier-one is not installed",
			Remedy: "install it as https://www.zerotier.com/download says"}
	case errors.Is(err, ErrNotRunning):
		return ServiceStatus{State: ServiceNotRunning, Remedy: start,
			Cause: "zerotier-one is not running: members have no Internet"}
	case errors.Is(err, ErrNoToken) && errors.Is(err, fs.ErrPermission):
		return ServiceStatus{State: ServiceNoToken, Cause: cause,
			Remedy: "run ztbridge as root, or let its user read authtoken.secret"}
	case errors.Is(err, ErrNoToken):
		return ServiceStatus{State: ServiceNoToken, Cause: cause,
			Remedy: "restart zerotier-one, which writes a new token: systemctl restart " +
				"zerotier-one"}
	case errors.Is(err, ErrRefused):
		return ServiceStatus{State: ServiceRefused, Cause: cause,
			Remedy: "check that zerotier.home is the home directory of the running zerotier-one, " +
				"then restart it: systemctl restart zerotier-one"}
	}
	return ServiceStatus{State: ServiceBroken, Cause: cause,
		Remedy: "check that zerotier-one, and nothing else, listens on the port in its " +
			"zerotier-one.port, then restart it: systemctl restart zerotier-one"}
}

// attempt describes how joining a network went so far.
type attempt struct {
	late    bool   // the box has waited for the controller long enough
	device  string // why the service has no device for the network; empty: no such trouble
	failure string // why the last join failed; empty: it did not
}

// networkStatus returns the state of one membership with cause and remedy, without Since.
func networkStatus(id NetworkID, f facts, iface string, a attempt) NetworkStatus {
	n, joined := f.networks[id]
	st := NetworkStatus{ID: id, Iface: iface, State: NetworkUnknown}
	switch {
	case f.err != nil:
	case !joined && a.device != "":
		st.State, st.Cause = NetworkNoDevice, a.device
		st.Remedy = "load the driver (modprobe tun), check that zerotier-one may use " +
			"/dev/net/tun, and see its log: journalctl -u zerotier-one; it is tried again by itself"
	case !joined && a.failure != "":
		st.State, st.Cause = NetworkJoining,
			fmt.Sprintf("joining network %s failed: %s", id, a.failure)
		st.Remedy = "see the log of zerotier-one: journalctl -u zerotier-one; it is tried again " +
			"by itself"
	case !joined:
		st.State, st.Waiting, st.Cause = NetworkJoining, true,
			fmt.Sprintf("this box is about to join network %s", id)
	default:
		st.fill(n)
		st.explain(f.node.Address, a.late)
	}
	st.Index = f.links[st.Iface]
	if st.State == NetworkOK && st.Cause == "" && st.Index == 0 {
		st.Cause = fmt.Sprintf("members have no Internet: the interface %s is not there, though "+
			"zerotier-one says OK", st.Iface)
		st.Remedy = "restart it: systemctl restart zerotier-one; in a container, let it use the " +
			"host's network"
	}
	return st
}

func (st *NetworkStatus) fill(n networkAnswer) {
	st.Name, st.MTU = n.Name, n.MTU
	st.State, st.Public = networkState(n.Status), n.Type == "PUBLIC"
	if n.PortDeviceName != "" {
		st.Iface = n.PortDeviceName
	}
	st.Addrs, st.Routes = n.addrs(), n.routes()
	st.Prefixes = memberPrefixes(st.Addrs, st.Routes, n.AllowGlobal)
	st.Authorised = st.State == NetworkOK
	st.AllowManaged, st.AllowDefault, st.AllowDNS = n.AllowManaged, n.AllowDefault, n.AllowDNS
}

// networkStates are the service's words for states. REQUESTING_CONFIGURATION, and whatever a later
// version invents, is NetworkJoining.
var networkStates = map[string]NetworkState{
	"OK": NetworkOK, "ACCESS_DENIED": NetworkDenied, "NOT_FOUND": NetworkNotFound,
	"PORT_ERROR": NetworkNoDevice, "CLIENT_TOO_OLD": NetworkClientTooOld,
	"AUTHENTICATION_REQUIRED": NetworkSignIn,
}

func networkState(s string) NetworkState { return cmp.Or(networkStates[s], NetworkJoining) }

// explain fills in cause and remedy of a network that the service knows.
func (st *NetworkStatus) explain(self Address, late bool) {
	const orSetup = ", or run: ztbridge network setup"
	where := fmt.Sprintf(
		"at its controller (https://central.zerotier.com, or your own controller on node %s)",
		st.ID.Controller())
	switch {
	case st.State == NetworkDenied:
		st.Cause = fmt.Sprintf("network %s does not let this box in", st.ID)
		st.Remedy = fmt.Sprintf("authorise member %s %s%s", self, where, orSetup)
	case st.State == NetworkNotFound:
		st.Cause = fmt.Sprintf("the controller %s has no network %s", st.ID.Controller(), st.ID)
		st.Remedy = "check the network id in the configuration"
	case st.State == NetworkNoDevice:
		st.Cause = "zerotier-one could not make its network device"
		st.Remedy = "load the driver (modprobe tun), then restart it: systemctl restart " +
			"zerotier-one"
	case st.State == NetworkClientTooOld:
		st.Cause = "the network wants a newer zerotier-one"
		st.Remedy = "upgrade zerotier-one"
	case st.State == NetworkSignIn:
		st.Cause = "the network wants a person to sign in (SSO), which a box cannot do"
		st.Remedy = fmt.Sprintf("exempt member %s from SSO %s", self, where)
	case st.State == NetworkJoining && late:
		st.Cause = fmt.Sprintf("no answer from the network's controller %s", st.ID.Controller())
		st.Remedy = "check the network id, that UDP port 9993 may leave this box, and that the " +
			"controller is up"
	case st.State == NetworkJoining:
		st.Waiting, st.Cause = true,
			fmt.Sprintf("waiting for the controller %s of network %s", st.ID.Controller(), st.ID)
	case st.State == NetworkOK && (st.AllowDefault || st.AllowDNS):
		st.Cause = "zerotier-one may change this box's own routes or resolvers, and does not let " +
			"itself be told otherwise"
		st.Remedy = fmt.Sprintf(
			"zerotier-cli set %[1]s allowDefault=0; zerotier-cli set %[1]s allowDNS=0", st.ID)
	case st.State == NetworkOK && !strings.HasPrefix(st.Iface, "zt"):
		st.Cause = fmt.Sprintf(
			"devicemap names the interface %s: zerotier-one would take it for a path of its own",
			st.Iface)
		st.Remedy = fmt.Sprintf(
			"in devicemap, give %s a name that begins with zt, and restart it: systemctl restart "+
				"zerotier-one", st.ID)
	case st.State == NetworkOK && !st.AllowManaged:
		st.Cause = "allowManaged is off: zerotier-one sets neither addresses nor routes of this " +
			"network"
		st.Remedy = fmt.Sprintf("zerotier-cli set %s allowManaged=1", st.ID)
	case st.State == NetworkOK && len(st.Addrs) == 0:
		st.Cause = "the network gave this box no address"
		st.Remedy = fmt.Sprintf("assign an address to member %s %s%s", self, where, orSetup)
	}
}

// reachable reports whether a root or a moon was heard of late, by the service's own clock.
func reachable(f facts) bool {
	upstreams, clock := 0, time.UnixMilli(f.node.Clock)
	for _, p := range f.peers {
		if !p.upstream() {
			continue
		}
		upstreams++
		if heard := p.heard(); !heard.IsZero() && clock.Sub(heard) <= contactTimeout {
			return true
		}
	}
	return upstreams == 0 && f.node.Online // only a root has no upstream, and it is always online
}

// nodeProblems returns the problems of a service that answers, except those of local.conf and
// moons.
func nodeProblems(f facts, reachable bool) []health.Problem {
	var out []health.Problem
	if !reachable {
		out = append(out, health.Problem{Code: health.ServiceUnreachable,
			Message: "no ZeroTier root answers",
			Remedy:  "check this box's Internet connection, and that UDP port 9993 may leave"})
	}
	if f.node.TCPFallbackActive {
		out = append(out, health.Problem{Code: health.ServiceRelayed,
			Message: "UDP is blocked: ZeroTier uses a TCP relay, which is very slow",
			Remedy:  "allow UDP port 9993 out of this box's network"})
	}
	return out
}
