// Package connlimit bounds the connections of a listener without turning newcomers away: at a
// limit, the connection that has been silent for longest is closed to make room.
package connlimit
