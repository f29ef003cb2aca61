// Package api is the daemon's face: what it knows of itself as one stable value (Status), served on
// a unix socket together with the few commands that a person may give, and drawn for people.
//
// The JSON of Status is an interface: fields are added, never renamed or removed. Lists are never
// null, times are RFC 3339 in UTC, durations are seconds, a time that never happened is omitted.
package api
