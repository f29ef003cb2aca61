// Package packet hears packets that come in by an interface, whomever they are for, at next to no
// cost for them.
package packet
