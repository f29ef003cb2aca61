// Package netlab builds small Internets out of network namespaces, for tests and for the demo:
// hosts, links, a provider with a real OpenVPN server, streams of marked packets and captures that
// know a leaked packet when they see one.
//
// Everything it makes lives in namespaces named ztb-<pid>-…; the namespace of the caller is never
// changed. Labs of different processes do not meet, and what a crashed one left behind is swept by
// the next. Root is needed throughout.
package netlab
