// Package onetime serves a client's profile once, over HTTPS: by a link with a secret token, for
// ten minutes and one download. The server listens on loopback behind the endpoint's TCP port,
// whose openvpn passes on the connections that are not OpenVPN. Visitors without a token see a
// plain web page.
package onetime
