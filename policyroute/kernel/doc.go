// Package kernel observes and changes what policyroute decides: rules, routes, addresses, filters
// and sysctls of one network namespace. It is the only importer of netlink, nftables and
// go-iptables. It remembers nothing about what it did, except for the sysctls' original values:
// what is ours is known by the marks in policyroute's numbers.go, and everything else is neither
// shown nor touched.
package kernel
