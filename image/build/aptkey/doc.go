// Package aptkey reads the keys that apt repositories are signed with. It refuses a key whose
// fingerprint is not the one given.
package aptkey
