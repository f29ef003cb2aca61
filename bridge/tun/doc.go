// Package tun makes named, persistent TUN devices that an unprivileged user may open. A persistent
// device outlives the program that serves it: its routes stay, and packets go nowhere instead of
// elsewhere.
package tun
