// Command unchanged runs a command and fails if the machine is not afterwards as it was before:
//
//	unchanged [-json] COMMAND [ARGUMENT…]
//
// It compares the modes of shared directories, kernel parameters, routes, rules, nft's and
// iptables' rulesets, links, addresses, network namespaces, mounts, files in /etc (users and groups
// among them) and what tests leave in directories for temporary files. It names processes that
// outlive the command, and long-running services that it ended.
//
// The exit status is the command's, or 1 if the machine differs. With -json the result is told as a
// further test, in the format of `go test -json`. Without root's rights the packet filter cannot be
// read, which is said.
package main
