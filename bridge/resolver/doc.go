// Package resolver forwards the DNS questions of clients, whose port 53 is redirected to it, to the
// resolvers of one egress. It asks them by DNS over TLS (RFC 7858), through that egress only.
//
//	client ── port 53 ──▶ Resolver ──[mark]── TLS, name verified ──▶ upstream
//	client ◀─ SERVFAIL ──    │ no upstream answers, whatever the reason
//
// It keeps no cache and rewrites nothing but message ids.
package resolver
