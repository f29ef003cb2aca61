// Package portal finds out whether a network answers web requests in the place of those who were
// asked, because it wants a person to sign in first (a captive portal, RFC 8952).
package portal
