// Package deb packs ztbridge for Debian and its relatives: amd64, arm64 and armhf, from any machine
// with Go.
package deb
