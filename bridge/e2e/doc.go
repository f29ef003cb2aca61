// Package e2e holds no code of the product: its tests run the real program in a lab of network
// namespaces, with real OpenVPN servers and the real kernel, and watch which packet leaves by which
// interface.
package e2e
