package profile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"
)

// plainText returns the text of a profile: UTF-8 as it is, UTF-16 with a byte order mark decoded.
// What is no profile at all is an error that names what it looks like.
func plainText(data []byte) (string, error) {
	if kind := fileKind(data); kind != "" {
		return "", notProfile(kind)
	}
	switch {
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}):
		return fromUTF16(data[2:], binary.LittleEndian)
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		return fromUTF16(data[2:], binary.BigEndian)
	case bytes.IndexByte(data, 0) >= 0:
		return "", errors.New("not a plain text file; save it as UTF-8")
	}
	return strings.TrimPrefix(string(data), "\uFEFF"), nil
}

func notProfile(kind string) error {
	if kind == zipKind {
		return fmt.Errorf("not an OpenVPN profile: it is %s; write profiles: in the place of "+
			"profile: to use those in it, or unpack it", kind)
	}
	return fmt.Errorf("not an OpenVPN profile: it is %s; download the OpenVPN (.ovpn) file from "+
		"your provider", kind)
}

func fromUTF16(data []byte, order binary.ByteOrder) (string, error) {
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	text := string(utf16.Decode(units))
	if len(data)%2 != 0 || strings.ContainsAny(text, "\x00\uFFFD") {
		return "", errors.New("damaged UTF-16 text; save it as UTF-8")
	}
	return text, nil
}

const zipKind = "a ZIP archive"

// signatures are the beginnings of files that people take for a profile.
var signatures = []struct{ prefix, kind string }{
	{"PK\x03\x04", zipKind},
	{"PK\x05\x06", "an empty ZIP archive"},
	{"\x1f\x8b", "a gzip archive (unpack it first)"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it first)"},
	{"Rar!", "a RAR archive (unpack it first)"},
	{"%PDF-", "a PDF document"},
	{"\x89PNG", "a picture"}, {"\xff\xd8\xff", "a picture"},
	{"\x7fELF", "a program"}, {"MZ", "a Windows program"},
}

// texts are patterns of text files that people take for a profile.
var texts = []struct {
	pattern *regexp.Regexp
	kind    string
}{
	{regexp.MustCompile(`(?i)^\s*(<!doctype html|<html|<head|<body)`),
		"a web page, perhaps of a login that has expired"},
	{regexp.MustCompile(`(?i)^\s*(<\?xml|<plist)`), "an XML file (an Apple profile?)"},
	{regexp.MustCompile(`(?m)^\s*\[(Interface|Peer)\]\s*$`), "a WireGuard file"},
	{regexp.MustCompile(`^\s*\{[\s"]`), "a JSON file"},
	{regexp.MustCompile(`(?m)^conn\s+\S+\s*\n(.*\n)*?\s+(left|right)\w*=`), "an IPsec file"},
}

// fileKind recognises files that are no profile; empty for all others.
func fileKind(data []byte) string {
	if len(bytes.TrimSpace(bytes.Trim(data, "\x00"))) == 0 {
		return "an empty file"
	}
	for _, s := range signatures {
		if bytes.HasPrefix(data, []byte(s.prefix)) {
			return s.kind
		}
	}
	if bytes.HasPrefix(data, []byte{0x30, 0x82}) && bytes.IndexByte(data, 0) >= 0 {
		return "a certificate or PKCS #12 bundle (the profile names it by a pkcs12 line)"
	}
	text := strings.TrimPrefix(string(data[:min(len(data), 4096)]), "\uFEFF")
	for _, t := range texts {
		if t.pattern.MatchString(text) {
			return t.kind
		}
	}
	return ""
}

// placeholder recognises what templates write in the place of a server's name. Names with
// a dot are somebody's.
var placeholder = regexp.MustCompile(`(?i)^[<\[{(%$].*|^x{1,3}(\.x{1,3}){3}$|` +
	`^[^.]*(your|change[-_]?me|replace[-_]?me)[^.]*$|^(vpn[-_]?)?server[-_]?(ip|name|addr(ess)?)$|` +
	`^(ip|host)[-_](address|name|here)$|^my-server-[12]$`)
