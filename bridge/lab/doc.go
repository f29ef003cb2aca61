// Package lab builds small Internets of network namespaces (package netlab), for tests and for the
// demo. It has a box, a client, providers with real OpenVPN servers, names, lines with delay, and
// streams of marked packets.
//
// A Lab owns what it is made of and takes it down in reverse order; labs of different processes do
// not meet. Root is needed throughout.
package lab
