// Package aptkey reads the keys that apt repositories are signed with, and fails closed: a key
// whose fingerprint is not the one given is no key.
package aptkey
