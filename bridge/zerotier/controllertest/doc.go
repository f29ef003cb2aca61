// Package controllertest has fakes of ZeroTier's controllers, for tests. They are Central v1 and v2
// by their descriptions, and zerotier-one's controller by its recorded answers.
package controllertest
