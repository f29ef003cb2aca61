// Command ztbridge-demo shows the gateway at work in a lab of network namespaces, and tries to make
// it leak. The lab has a client, a box with ztbridge, a provider with a real OpenVPN server, and an
// Internet. With a zerotier-one on the PATH the client's link is real ZeroTier, in an Internet of
// its own. Nothing outside of the namespaces is touched, and nothing is left of them.
//
// It exits with 0 if nothing leaked and everything recovered, 1 if not, 2 if it could not be shown.
package main
