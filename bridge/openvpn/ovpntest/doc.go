// Package ovpntest makes certificates and keys for tests of the packages around openvpn.
package ovpntest
