// Package kernel observes and changes the kernel objects that policyroute decides about: rules,
// routes, addresses, filters and sysctls of one network namespace. It is the only importer of
// netlink, nftables and go-iptables. It remembers nothing except the sysctls' original values: the
// marks in policyroute's numbers.go tell which objects are ours. It neither reports nor changes any
// others.
package kernel
