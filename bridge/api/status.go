package api

import (
	"net/netip"
	"time"

	"ztbridge/bridge/health"
)

// State is the overall state in one word.
type State string

// The overall states.
const (
	Starting State = "starting" // nothing is decided yet; nothing passes
	Working  State = "working"  // every policy has its first choice, or the one a person chose
	Degraded State = "degraded" // traffic flows, but not everything is as configured
	Closed   State = "closed"   // no client's packet leaves; it is refused, not leaked
	Stopped  State = "stopped"  // no daemon runs, and nothing of it is in force
)

// Status is a snapshot of the whole daemon.
type Status struct {
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	Started time.Time `json:"started"`
	Config  string    `json:"config"` // path of the file in force
	State   State     `json:"state"`
	Summary string    `json:"summary"` // one sentence for people
	// Override is the egress chosen by `ztbridge egress use`, empty when nobody chose.
	Override   string      `json:"override,omitempty"`
	Conditions []Condition `json:"conditions"`
	WAN        WAN         `json:"wan"`
	Ingresses  []Ingress   `json:"ingresses"`
	Egresses   []Egress    `json:"egresses"`
	Policies   []Policy    `json:"policies"`
	Networks   []Network   `json:"networks"`
	Clients    []Client    `json:"clients"`
	Devices    []Device    `json:"devices"` // those that chose an exit of their own
	// Traffic is what each device that was met sent and received, those without a choice included.
	Traffic   []DeviceTraffic `json:"traffic"`
	Dropped   []Dropped       `json:"dropped"`
	Reconcile Reconcile       `json:"reconcile"`
}

// Dropped is what a layer of the filter has refused since it was loaded. The order is by layer.
type Dropped struct {
	Layer   string `json:"layer"` // entrance, forward, input, output, translated or errors
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Condition is something that is not as it should be.
type Condition struct {
	Code health.Code `json:"code"` // stable: see health.Kinds
	// the ingress, egress or network that has it; empty: the box
	Subject  string          `json:"subject"`
	Severity health.Severity `json:"severity"`
	Since    time.Time       `json:"since"`
	Message  string          `json:"message"`          // what is wrong
	Remedy   string          `json:"remedy,omitempty"` // what a person can do, imperative
	// Command is a shell command that does it, where one does.
	Command string `json:"command,omitempty"`
	// DependsOn names codes of conditions that explain this one: while one of them holds, this one
	// is its consequence and needs no action of its own.
	DependsOn []health.Code `json:"depends_on,omitempty"`
}

// Change is the last thing that happened to something, and why.
type Change struct {
	At    time.Time `json:"at,omitzero"`
	What  string    `json:"what,omitempty"`  // "connecting → up"
	Cause string    `json:"cause,omitempty"` // "two probes unanswered"
}

// WAN is the box's own way out.
type WAN struct {
	Up         bool         `json:"up"`
	Interface  string       `json:"interface,omitempty"`
	Addresses  []netip.Addr `json:"addresses"`
	Gateway4   netip.Addr   `json:"gateway4,omitzero"`
	Gateway6   netip.Addr   `json:"gateway6,omitzero"`
	LastChange Change       `json:"last_change"`
}

// Counters count since the interface exists, as the kernel does. In and out are the box's.
type Counters struct {
	BytesIn    uint64 `json:"bytes_in"`
	BytesOut   uint64 `json:"bytes_out"`
	PacketsIn  uint64 `json:"packets_in"`
	PacketsOut uint64 `json:"packets_out"`
}

// Ingress is where clients' traffic enters.
type Ingress struct {
	Name       string         `json:"name"`
	Kind       string         `json:"kind"` // "zerotier", "endpoint", "interface"
	Interface  string         `json:"interface"`
	State      string         `json:"state"` // "up", "down", "absent", or the service's own word
	Addresses  []netip.Prefix `json:"addresses"`
	Counters   Counters       `json:"counters"`
	Goes       []Assignment   `json:"goes"`
	LastChange Change         `json:"last_change"`
}

// Assignment says where traffic goes now and by which rule of the policy.
type Assignment struct {
	Rule   string    `json:"rule"`   // "policy[0]"; empty: no rule matches
	From   string    `json:"from"`   // whose traffic, in words of the configuration
	To     string    `json:"to"`     // where to; empty: anywhere
	Egress string    `json:"egress"` // empty: refused
	IPv6   bool      `json:"ipv6"`   // IPv6 goes there as well; if not, it is refused
	Since  time.Time `json:"since"`
	// "first choice", "provider is down", "selected manually", "blocked"
	Why string `json:"why"`
}

// Egress is a way out.
type Egress struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`  // "openvpn", "zerotier", "wan"
	State     string    `json:"state"` // "stopped", "resolving", "connecting", "up", "degraded", …
	Usable    bool      `json:"usable"`
	Since     time.Time `json:"since"`
	Interface string    `json:"interface,omitempty"`
	// Remote is the server of a tunnel ("udp 203.0.113.5:1194"), the member, or the gateway.
	Remote    string         `json:"remote,omitempty"`
	Addresses []netip.Prefix `json:"addresses"`
	MTU       int            `json:"mtu"` // bytes; 0: unknown
	DNS       []string       `json:"dns"`
	// ExitAddresses are how the Internet sees what leaves by it, at most one of each IP version;
	// empty while it is not known, or nobody is to be asked.
	ExitAddresses []ExitAddress `json:"exit_addresses"`

	// Probes says for each IP version that is probed whether answers come.
	Probes []ProbeState `json:"probes,omitempty"`

	RTT      float64  `json:"rtt_seconds"` // of the last probe; 0: none answered
	Loss     float64  `json:"loss"`        // share of the last probes unanswered, 0 to 1
	Counters Counters `json:"counters"`
	// Server is the profile in use of a collection, Servers are all of them; empty for one profile.
	Server  string   `json:"server,omitempty"`
	Servers []string `json:"servers,omitempty"`
	// Chosen reports whether a person chose it with `ztbridge egress use`.
	Chosen     bool   `json:"chosen"`
	LastChange Change `json:"last_change"`
}

// ProbeState is how the probes of one IP version fare.
type ProbeState struct {
	Version string `json:"version"` // "ipv4" or "ipv6"
	State   string `json:"state"`   // a grade in one word
	Up      bool   `json:"up"`      // answers come
}

// ExitAddress is an address that a service in the Internet saw.
type ExitAddress struct {
	Address netip.Addr `json:"address"`
	// two capital letters; empty: unknown
	Country string    `json:"country,omitempty"`
	Service string    `json:"service"` // host that was asked
	At      time.Time `json:"at"`      // when it answered
}

// Policy is a rule and what it does now.
type Policy struct {
	Name   string   `json:"name"`
	From   []string `json:"from"`
	To     []string `json:"to"`
	Wanted []string `json:"wanted"` // egresses in order of preference; empty: block
	Egress string   `json:"egress"` // the one in use; empty: refused
	// Egress6 carries its IPv6 where that is another.
	Egress6 string `json:"egress6,omitempty"`
	// At are the times of the week in which the rule is in force; empty: always. Off: not now.
	At    []string  `json:"at,omitempty"`
	Off   bool      `json:"off,omitempty"`
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
	// Gap is for how long, since the daemon started, none of Wanted could be used.
	Gap float64 `json:"gap_seconds"`
}

// Network is the box's membership in a ZeroTier network.
type Network struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`   // in the configuration
	Title     string         `json:"title"`  // at the controller
	Status    string         `json:"status"` // "ok", NetworkDenied, "not-found", …
	Interface string         `json:"interface,omitempty"`
	Member    string         `json:"member"` // our address, to be authorised at the controller
	Addresses []netip.Prefix `json:"addresses"`
	MTU       int            `json:"mtu"`
}

// NetworkDenied is the status of a network that waits for somebody to authorise this box.
const NetworkDenied = "access-denied"

// Client is a connected client of the endpoint.
type Client struct {
	Name      string       `json:"name"`
	Remote    string       `json:"remote"`   // where it connects from
	Listener  string       `json:"listener"` // "tcp/443"
	Addresses []netip.Addr `json:"addresses"`
	Since     time.Time    `json:"since"`
	Counters  Counters     `json:"counters"`
}

// Device is somebody with an exit of their own choice.
type Device struct {
	Kind      string       `json:"kind"` // "member", "client", "address"
	ID        string       `json:"id"`   // ZeroTier address, client's name, or IP address
	Network   string       `json:"network,omitempty"`
	Name      string       `json:"name"` // for people; the ID where there is none
	Addresses []netip.Addr `json:"addresses"`
	Choice    string       `json:"choice"`
	Off       bool         `json:"off,omitempty"`     // no rule that is in force offers the choice
	Rule      string       `json:"rule"`              // that speaks of it; empty: none
	Egress    string       `json:"egress"`            // that it uses now; empty: blocked
	Egress6   string       `json:"egress6,omitempty"` // of its IPv6, where that is another
	Since     time.Time    `json:"since"`             // of the choice
}

// Reconcile is the last pass over the kernel's state.
type Reconcile struct {
	At       time.Time `json:"at,omitzero"`
	Duration float64   `json:"duration_seconds"`
	Cause    string    `json:"cause"`
	Ops      []string  `json:"ops"` // what it changed, as commands; empty: nothing to do
	Error    string    `json:"error,omitempty"`
	Passes   uint64    `json:"passes"` // since the daemon started
}

// Explanation says what happens to packets of one address, and why.
type Explanation struct {
	Address netip.Addr `json:"address"`
	Ingress string     `json:"ingress"` // empty: it enters by none that is known
	Client  string     `json:"client,omitempty"`
	Rule    string     `json:"rule"`   // empty: none matches
	Egress  string     `json:"egress"` // empty: refused
	// Steps are the decisions in order, in words, from the ingress to the egress.
	Steps []string `json:"steps"`
}
