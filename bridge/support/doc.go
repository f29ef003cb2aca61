// Package support makes a bundle that a person can hand to whoever helps: what the box is, does and
// logs, without its secrets. Passwords, keys, tokens, public addresses, hardware addresses and
// names are replaced by placeholders, the same one for the same thing, so that what belongs
// together is still seen.
package support
