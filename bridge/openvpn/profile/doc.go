// Package profile reads a provider's OpenVPN profile. It parses the file against a list of known
// directives, reports what it drops or finds weak, and writes the rest again: nothing of the
// original text reaches openvpn, no file is named in it and no program is run by it.
package profile
