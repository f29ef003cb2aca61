// Package zerotier drives the official zerotier-one service through its local API. It keeps the box
// in the configured networks, keeps the service from moving the host's own traffic, and reports the
// state of the networks.
//
//	            ┌────────────── not asked yet: unknown ──────────────┐
//	            ▼                                                    ▼
//	not-installed, not-running, no-token, refused, broken  ⇄        ok
//	(each with a cause and a remedy; asked again at most 1 s later)
//	each network: joining ⇄ ok ⇄ denied …
//
// The service writes routes only to the main table, and only for memberships with allowDefault or
// allowGlobal; both are switched off here. It forgets nothing over a restart, and it believes its
// cache: "OK" says nothing about whether packets pass.
package zerotier
