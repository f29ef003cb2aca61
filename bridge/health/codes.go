package health

// The codes, by area.
const (
	WANDown         Code = "wan-down"
	WANSilent       Code = "wan-silent"
	WANSignIn       Code = "wan-sign-in"
	WANMissing      Code = "wan-interface-missing"
	ClockWrong      Code = "clock-wrong"
	ConntrackFull   Code = "connections-full"
	ReconcileFailed Code = "reconcile-failed"
	IPTables        Code = "iptables-unusable"
	PreparedNotice  Code = "notice"
	OracleIdle      Code = "oracle-idle"
	HistoryFailed   Code = "history-failed"
	NotifyFailed    Code = "notify-failed"
	DiskFull        Code = "disk-full"
	DiskReadOnly    Code = "disk-read-only"
	DiskErrors      Code = "disk-errors"
	UpdateAvailable Code = "update-available"
	UpdateStaged    Code = "update-staged"
	UpdateFailed    Code = "update-failed"
	UpdateFellBack  Code = "update-fell-back"
	PageFailed      Code = "page-failed"

	NotSetUp      Code = "not-set-up"
	ConfigWarning Code = "config-warning"
	EgressChosen  Code = "egress-chosen"
	ChoiceGone    Code = "choice-gone"
	AddressTaken  Code = "device-address-claimed"
	ReloadRefused Code = "reload-refused"
	Closed        Code = "destination-closed"

	ServiceNotInstalled Code = "zerotier-not-installed"
	ServiceNotRunning   Code = "zerotier-not-running"
	ServiceNoToken      Code = "zerotier-no-token"
	ServiceRefused      Code = "zerotier-refused"
	ServiceBroken       Code = "zerotier-broken"
	ServiceUnreachable  Code = "zerotier-unreachable"
	ServiceRelayed      Code = "zerotier-tcp-relay"
	ServiceBlacklist    Code = "zerotier-blacklist-not-effective"
	ServiceLocalConf    Code = "zerotier-local-conf"
	ServiceMoon         Code = "zerotier-moon"
	ServiceIsMoon       Code = "zerotier-is-moon"

	NetworkJoining      Code = "network-joining"
	NetworkOK           Code = "network-ok"
	NetworkDenied       Code = "network-access-denied"
	NetworkNotFound     Code = "network-not-found"
	NetworkNoDevice     Code = "network-no-device"
	NetworkClientTooOld Code = "network-client-too-old"
	NetworkSignIn       Code = "network-sign-in-required"
	NetworkPublic       Code = "network-public"
	NetworkNoRoute      Code = "network-route-missing"
	NetworkOtherRoute   Code = "network-route-elsewhere"
	NetworkOverlap      Code = "network-overlap"

	TunnelStopped      Code = "tunnel-stopped"
	TunnelResolving    Code = "tunnel-resolving"
	TunnelConnecting   Code = "tunnel-connecting"
	TunnelReconnecting Code = "tunnel-reconnecting"
	TunnelBackoff      Code = "tunnel-backoff"
	TunnelAuthFailed   Code = "tunnel-auth-failed"
	TunnelTLSFailed    Code = "tunnel-tls-failed"
	TunnelDNSFailed    Code = "tunnel-dns-failed"
	TunnelCertExpired  Code = "tunnel-cert-expired"
	TunnelConfigError  Code = "tunnel-config-error"
	TunnelPushRefused  Code = "tunnel-push-refused"
	TunnelWarning      Code = "tunnel-warning"
	TunnelAddress      Code = "tunnel-address-taken"

	NoIPv4            Code = "egress-without-ipv4"
	EgressSilent      Code = "egress-silent"
	ProbesUnanswered  Code = "probes-unanswered"
	EgressRing        Code = "egress-ring"
	MemberUnreachable Code = "member-unreachable"
	ViaUnusable       Code = "via-unusable"
	PrefixUnusable    Code = "prefix-unusable"
	WANShape          Code = "wan-not-shaped"
	WANWithoutRoute   Code = "wan-without-route"

	IngressMissing   Code = "ingress-missing"
	IngressDown      Code = "ingress-down"
	IngressAddress   Code = "ingress-address-lost"
	IngressUncovered Code = "ingress-without-rule"
	IngressDefault   Code = "ingress-default-route"
	IngressStacked   Code = "ingress-stacked"

	PathBlocked   Code = "path-blocked"
	PathBroken    Code = "path-broken"
	PathDiverted  Code = "path-diverted"
	PathUnchecked Code = "path-unchecked"
	DNSBackup     Code = "dns-on-backup"
	DNSUnanswered Code = "dns-unanswered"

	EndpointFailed   Code = "endpoint-failed"
	ListenerFailed   Code = "listener-failed"
	LinksUnavailable Code = "links-unavailable"
)

// onDown explains that nothing answers this box.
var onDown = []Code{WANDown, ConntrackFull}

// onWAN explains what needs the box's own connection.
var onWAN = []Code{WANDown, WANSilent, WANSignIn, ConntrackFull}

// onClock explains that a certificate is not valid.
var onClock = []Code{WANDown, WANSilent, WANSignIn, ConntrackFull, ClockWrong}

// onNames explains that a resolver is silent.
var onNames = []Code{WANDown, WANSilent, WANSignIn, ConntrackFull, DNSUnanswered}

// onDisk explains why something cannot be written.
var onDisk = []Code{DiskErrors, DiskFull, DiskReadOnly}

// onService explains what is wrong with a network while the service does not answer.
var onService = []Code{WANDown, WANSilent, ServiceNotInstalled, ServiceNotRunning, ServiceNoToken,
	ServiceRefused, ServiceBroken}

// kinds is the registry, sorted by code.
var kinds = []Kind{
	{ChoiceGone, Configuration, Warning,
		"A device chose an exit that its rule does not offer any more: it uses that of its rule.",
		"choose another one, or forget the choice: ztbridge egress reset --for DEVICE", nil},
	{ClockWrong, Box, Warning, "This box's clock is wrong: it shows a time in the past.",
		"set it: timedatectl set-ntp true", nil},
	{ConfigWarning, Configuration, Warning,
		"Something in the configuration is allowed, but probably not meant.",
		"correct the line that it names, and reload", nil},
	{ConntrackFull, Box, Error,
		"New connections get no answer: this box follows as many connections as it may.",
		"raise net.netfilter.nf_conntrack_max; the problem names the command", nil},
	{Closed, Configuration, Warning,
		"Devices are sent to a destination that is closed to them: that traffic is blocked.",
		"name the destination under peering:", nil},
	{AddressTaken, Network, Warning,
		"Two members claim one address: what the second one sends from it is dropped.",
		"see the message", nil},
	{DiskErrors, Box, Warning,
		"The disk or SD card that holds this box's state fails: it may not start again one day.",
		"make a backup now: ztbridge backup; then replace the disk or card", nil},
	{DiskFull, Box, Warning,
		"The disk with this box's state is full: choices, keys and history are not kept.",
		"see what fills it: df -h", nil},
	{DiskReadOnly, Box, Warning,
		"The disk with this box's state is read-only: choices, keys and history are not kept.",
		"see why: dmesg; a disk or SD card that fails ends so", nil},
	{DNSBackup, Egress, Warning,
		"A DNS server of this egress does not answer; devices are sent to the next one.",
		"wait whether it comes back; else name other ones under dns: of that egress", onNames},
	{DNSUnanswered, Egress, Error,
		"Devices cannot look up names: the DNS server of their egress does not answer.",
		"name another one under dns: of that egress", onWAN},
	{EgressChosen, Configuration, Info,
		"An egress was selected manually and comes before the order of the configuration.",
		"to follow the configuration again: ztbridge egress reset", nil},
	{EgressRing, Egress, Error,
		"What leaves by this egress comes back to this box: the boxes send traffic in a circle.",
		"give one of the boxes an egress that does not lead to another", nil},
	{EgressSilent, Egress, Error,
		"Devices get nothing by this egress: nothing beyond it answers them, or this box.",
		"ask the provider; a second egress in the policy would take over", onWAN},
	{NoIPv4, Egress, Error, "Devices have no IPv4: the exit that they use carries IPv6 alone.",
		"see why it has none, or let an exit that has IPv4 come before it", onDown},
	{EndpointFailed, Endpoint, Error, "The endpoint admits no new client.",
		"see the message; ztbridge doctor explains", nil},
	{HistoryFailed, Box, Warning,
		"What devices did and what changed is not remembered; traffic is not affected.",
		"see whether the disk is full or read-only: df -h", onDisk},
	{IngressAddress, Ingress, Error,
		"An interface where devices enter has lost its addresses of one IP version, or another " +
			"machine uses one of them.",
		"give them back; the problem names the command", nil},
	{IngressDefault, Ingress, Error,
		"This box's own traffic follows a default route by an interface where clients enter.",
		"remove that route", nil},
	{IngressDown, Ingress, Error, "An interface where devices enter is switched off.",
		"switch it on: ip link set NAME up", nil},
	{IngressMissing, Ingress, Warning, "An interface that clients should enter by does not exist.",
		"create it, or correct its name in the configuration", nil},
	{IngressStacked, Ingress, Error,
		"An interface where clients enter is part of another one, or renamed: that one is closed.",
		"undo that, or make the other one the ingress", nil},
	{IngressUncovered, Configuration, Error,
		"No rule of the policy covers what enters there: it is blocked.",
		"add it to from: of a rule, and reload", []Code{NotSetUp}},
	{IPTables, Box, Warning,
		"iptables cannot be read or changed: another firewall may block forwarded traffic.",
		"repair iptables, or let the other firewall accept what ztbridge forwards", nil},
	{LinksUnavailable, Endpoint, Warning, "One-time links to profiles cannot be opened.",
		"check endpoint.https; ztbridge client show prints the profile itself", nil},
	{ListenerFailed, Endpoint, Error, "Clients cannot connect to one port of the endpoint.",
		"see who else listens on that port: ss -tulpn", nil},
	{MemberUnreachable, Egress, Error,
		"Neither the ZeroTier peer that this egress leads through nor anything beyond it answers.",
		"check that the machine runs and is online in the network", onWAN},
	{NetworkDenied, Network, Error, "This box is not authorised in the network.",
		"authorise its address at the network's controller", onService},
	{NetworkClientTooOld, Network, Error, "The network needs a newer zerotier-one.",
		"update zerotier-one", onService},
	{NetworkJoining, Network, Error, "The network's controller has not answered yet.",
		"check the network's id, and that its controller is online", onService},
	{NetworkNoDevice, Network, Error,
		"The network's interface does not exist: its members have no Internet.",
		"check /dev/net/tun, and restart zerotier-one", onService},
	{NetworkNotFound, Network, Error, "The network does not exist.",
		"correct its id in the configuration", onService},
	{NetworkOK, Network, Warning,
		"The network works, but one of its settings is not as it should be.",
		"see the message", onService},
	{NetworkOverlap, Network, Warning,
		"A network's addresses are in use on this box for something else as well.",
		"renumber one of the two", onService},
	{NetworkPublic, Network, Warning,
		"Anybody who knows the network's id can join it and leave by this box.",
		"make the network private at its controller", onService},
	{NetworkOtherRoute, Network, Warning,
		"A default route of the network does not lead to this box: members do not leave by it.",
		"correct it: ztbridge network setup", onService},
	{NetworkNoRoute, Network, Warning,
		"The network has no default route by this box: members do not leave by it.",
		"add it: ztbridge network setup --yes", onService},
	{NetworkSignIn, Network, Error, "The network wants a person to sign in, which a box cannot do.",
		"switch single sign-on off for this member at the controller", onService},
	{NotSetUp, Configuration, Error, "This box is not set up yet: it lets nothing through.",
		"open its page in a browser on its network, at http:// and the box's address", nil},
	{PreparedNotice, Box, Warning, "The programs that prepared the box have something to say.",
		"see the message", nil},
	{NotifyFailed, Box, Warning, "Messages about this box do not reach you.",
		"see the message, then try: ztbridge notify test", onWAN},
	{OracleIdle, Box, Info, "Oracle may take back an Always Free machine that is idle.",
		"see the message", nil},
	{PageFailed, Box, Warning, "The page cannot be opened in a browser on some network.",
		"see who else listens on its port, or give it another: page: {port: 8080}", nil},
	{PathBlocked, Box, Error, "A filter on this box drops devices' packets.",
		"let it accept what ztbridge forwards; the problem names the command", nil},
	{PathBroken, Box, Error,
		"Devices get no answer by an egress, though this box itself does.",
		"run ztbridge doctor; if all else is well, ask the provider", onWAN},
	{PathDiverted, Box, Error,
		"Another program's routing rule, or IPsec policy, takes devices' traffic away.",
		"remove it; the problem names the command", nil},
	{PathUnchecked, Box, Info, "Whether devices get through cannot be checked.",
		"check that ztbridge can open /dev/net/tun", nil},
	{PrefixUnusable, Egress, Warning, "Devices' own IPv6 addresses do not work by this egress.",
		"see the message, or write ipv6: nat66", onWAN},
	{ProbesUnanswered, Egress, Warning, "Nothing beyond this egress answers the box's probes.",
		"if it works all the same: set probe.targets to hosts that answer", onWAN},
	{ReconcileFailed, Box, Error,
		"The kernel could not be changed: what was in force before stays.",
		"see the log: journalctl -u ztbridge", nil},
	{ReloadRefused, Configuration, Warning,
		"The configuration file has an error: the configuration that was read before stays.",
		"correct the file, then: ztbridge reload", nil},
	{TunnelAddress, Tunnel, Error,
		"A server assigned an address that this box needs for something else: not used.",
		"connect to another server of the provider, or change what has the address", onWAN},
	{TunnelAuthFailed, Tunnel, Warning, "The server rejected the user name or password.",
		"check the credentials file and the account, then: systemctl reload ztbridge", onWAN},
	{TunnelBackoff, Tunnel, Warning,
		"The server did not answer; the next attempt follows by itself.",
		"check the profile's server and port", onWAN},
	{TunnelCertExpired, Tunnel, Warning, "A certificate has expired, or this box's clock is wrong.",
		"check the clock with timedatectl; else get a new profile", onClock},
	{TunnelConfigError, Tunnel, Warning, "openvpn refuses the profile.",
		"run: ztbridge config check", onWAN},
	{TunnelConnecting, Tunnel, Warning, "The tunnel is connecting.", "", onWAN},
	{TunnelDNSFailed, Tunnel, Warning, "The server's name cannot be resolved.",
		"check the name in the profile and this box's resolver", onWAN},
	{TunnelPushRefused, Tunnel, Warning, "The server's settings would harm this box: refused.",
		"see the message", onWAN},
	{TunnelReconnecting, Tunnel, Warning, "The tunnel is reconnecting.", "", onWAN},
	{TunnelResolving, Tunnel, Warning, "The server's name is being resolved.", "", onWAN},
	{TunnelStopped, Tunnel, Warning, "The tunnel is stopped.", "", onWAN},
	{TunnelTLSFailed, Tunnel, Warning, "The TLS handshake with the server failed.",
		"see the message; a new profile from the provider often helps", onWAN},
	{TunnelWarning, Tunnel, Info, "The tunnel works; something about its profile or server is odd.",
		"see the message", nil},
	{UpdateAvailable, Box, Info, "A newer version is there; this box installs it by itself.",
		"nothing; ztbridge update status tells when", nil},
	{UpdateFailed, Box, Warning, "The box cannot keep itself current.",
		"see the message, and ztbridge update status", onWAN},
	{UpdateFellBack, Box, Warning, "A new version failed its trial; the one before it runs again.",
		"nothing: a newer version is tried when there is one; the log is in /data/log", nil},
	{UpdateStaged, Box, Info, "A new version is installed and is tried at the next restart.",
		"nothing; or restart now: systemctl reboot", nil},
	{ViaUnusable, Egress, Error, "The address that an egress leads through is no other machine.",
		"write the address of the ZeroTier peer to go through, and reload", nil},
	{WANDown, Box, Error, "This box has no Internet connection: no default route.",
		"check its cable, Wi-Fi or DHCP", nil},
	{WANMissing, Egress, Error, "The interface of a wan egress does not exist.",
		"plug it in, or correct interface: of that egress", nil},
	{WANShape, Egress, Warning, "The WAN is not shaped as the configuration says.",
		"load the kernel module sch_cake, or remove shape:", onWAN},
	{WANSignIn, Box, Error, "This network answers in the Internet's place: it wants a sign-in.",
		"sign in with a browser on another device in this network", onDown},
	{WANSilent, Box, Error,
		"This box has a default route, and nothing on the Internet answers it.",
		"check the router's own connection; a hotel's network may want a sign-in first", onDown},
	{WANWithoutRoute, Egress, Warning, "The gateway of a wan egress is not known.",
		"add a default route with a high metric by that interface", onWAN},
	{ServiceBlacklist, Service, Warning,
		"zerotier-one may send its own packets through our tunnels.",
		"restart it: systemctl restart zerotier-one", onWAN},
	{ServiceBroken, Service, Error, "What answers on zerotier-one's port is not zerotier-one.",
		"restart it: systemctl restart zerotier-one", nil},
	{ServiceIsMoon, Service, Info, "This box is a ZeroTier moon.",
		"others follow it with: zerotier-cli orbit", nil},
	{ServiceLocalConf, Service, Warning, "zerotier-one's local.conf cannot be read or written.",
		"see the message", onWAN},
	{ServiceMoon, Service, Warning, "A moon could not be made or followed.", "see the message",
		onWAN},
	{ServiceNoToken, Service, Error, "zerotier-one's API token cannot be read.",
		"run ztbridge as root, and check zerotier.home", nil},
	{ServiceNotInstalled, Service, Error, "zerotier-one is not installed.",
		"install it as https://www.zerotier.com/download/ says", nil},
	{ServiceNotRunning, Service, Error, "zerotier-one is not running: members reach nothing.",
		"start it: systemctl start zerotier-one", nil},
	{ServiceRefused, Service, Error, "zerotier-one refuses the token in its own directory.",
		"restart it: systemctl restart zerotier-one", nil},
	{ServiceRelayed, Service, Warning,
		"UDP is blocked: ZeroTier uses a TCP relay, which is very slow.",
		"allow UDP port 9993 out of this box's network", onWAN},
	{ServiceUnreachable, Service, Warning,
		"No ZeroTier root answers: members may not find this box.",
		"check this box's Internet connection, and that UDP port 9993 may leave", onWAN},
}
