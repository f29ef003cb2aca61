// Package exitaddr asks services in the Internet from which address they are asked, through one
// egress at a time:
//
//	Asker ─▶ socket bound to the egress's interface, with its mark ─▶ service ─▶ "203.0.113.7, NL"
//
// The sockets can leave by no other way: without the interface, or without its route, the question
// fails. What a service answers is judged as a stranger's: it is short, holds one public address of
// the version that was asked with, and a country of two letters, or it is thrown away.
package exitaddr
