// Package kernel observes and changes the kernel objects of one network namespace that policyroute
// decides about. They are rules, routes, addresses, filters and sysctls. It is the only importer of
// netlink, nftables and go-iptables. It remembers nothing except the sysctls' original values: the
// marks in policyroute's numbers.go tell which objects are ours. It neither reports nor changes any
// others.
package kernel
