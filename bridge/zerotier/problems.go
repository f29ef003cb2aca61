package zerotier

import "ztbridge/bridge/health"

// serviceCodes are the codes of the states in which the service does not do its work.
var serviceCodes = map[ServiceState]health.Code{
	ServiceNotInstalled: health.ServiceNotInstalled, ServiceNotRunning: health.ServiceNotRunning,
	ServiceNoToken: health.ServiceNoToken, ServiceRefused: health.ServiceRefused,
	ServiceBroken: health.ServiceBroken,
}

// Problem returns what keeps the service from working, and reports whether anything does.
func (s ServiceStatus) Problem() (health.Problem, bool) {
	code, bad := serviceCodes[s.State]
	return health.Problem{Code: code, Message: s.Cause, Remedy: s.Remedy}, bad
}

var networkCodes = map[NetworkState]health.Code{
	NetworkJoining: health.NetworkJoining, NetworkOK: health.NetworkOK,
	NetworkDenied: health.NetworkDenied, NetworkNotFound: health.NetworkNotFound,
	NetworkNoDevice: health.NetworkNoDevice, NetworkClientTooOld: health.NetworkClientTooOld,
	NetworkSignIn: health.NetworkSignIn,
}

// Problem returns what is wrong with the membership, and reports whether anything is. Its subject
// is the name of the network in the configuration. To be joining is a warning while it is not late.
func (n NetworkStatus) Problem(name string) (health.Problem, bool) {
	code, known := networkCodes[n.State]
	if !known || n.State == NetworkOK && n.Cause == "" {
		return health.Problem{}, false
	}
	if n.State == NetworkOK && n.Index == 0 {
		code = health.NetworkNoDevice
	}
	p := health.Problem{Code: code, Subject: name, Message: n.Cause, Remedy: n.Remedy}
	if n.Waiting {
		p.Severity = health.Warning
	}
	return p, true
}
