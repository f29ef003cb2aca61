// Package controllertest has stand-ins for ZeroTier's controllers, for tests: Central v1 and v2 as
// their descriptions say, and the controller of zerotier-one as its answers were recorded.
package controllertest
