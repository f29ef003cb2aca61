// Package web serves the page: the status of the box in a browser, and what a person may do there.
//
// It is part of the daemon's process. All that it does goes through api.Backend, or runs a command
// of the program; another process would need the daemon's socket, whose users may do anything, and
// as much memory again.
//
// Requests pass, from the outside in: the listener (interface and source), security headers, the
// Host header, the way to TLS, the limit per source, the Origin, the session or else the device,
// its role, the form's token.
package web
