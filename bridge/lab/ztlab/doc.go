// Package ztlab runs real ZeroTier services in a netlab, in an Internet of their own. It has a
// planet with its own keys and one root, which is also the controller. Nothing leaves the lab.
//
//	            ┌──────────────┐
//	            │ root         │  planet and controller, a site of its own
//	            └──────┬───────┘
//	client ── zt… ─────┼───── zt… ── box        over 9993/udp of the lab's Internet
package ztlab
