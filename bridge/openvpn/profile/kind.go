package profile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// plainText returns the text of a profile, decoded where it is UTF-16 or Windows-1252. What is no
// profile at all is an error that names what it looks like.
func plainText(data []byte) (string, error) {
	if kind := fileKind(data); kind != "" {
		return "", notProfile(kind)
	}
	text, err := decode(data)
	if kind := textKind(text); err == nil && kind != "" {
		return "", notProfile(kind)
	}
	return text, err
}

func decode(data []byte) (string, error) {
	switch {
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}):
		return fromUTF16(data[2:], binary.LittleEndian)
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		return fromUTF16(data[2:], binary.BigEndian)
	case halfZero(data, 1):
		return fromUTF16(data, binary.LittleEndian)
	case halfZero(data, 0):
		return fromUTF16(data, binary.BigEndian)
	}
	data = bytes.TrimRight(data, "\x00\x1a") // what pads a file, and DOS's end of one
	switch {
	case bytes.IndexByte(data, 0) >= 0:
		return "", errors.New("not a plain text file; save it as UTF-8")
	case !utf8.Valid(data):
		return fromWindows1252(data), nil
	}
	return strings.TrimPrefix(string(data), "\uFEFF"), nil
}

// halfZero reports whether data begins as UTF-16 without a byte order mark does: with ASCII
// characters, whose upper byte is zero and lower one is not.
func halfZero(data []byte, upper int) bool {
	const some = 32
	if len(data) < some {
		return false
	}
	for i, b := range data[:some] {
		if (b == 0) != (i%2 == upper) {
			return false
		}
	}
	return true
}

// upper1252 are the characters 0x80 to 0x9F of Windows-1252; all others are those of Latin-1.
var upper1252 = []rune("\u20ac_\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152" +
	"_\u017d__" +
	"\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153_\u017e\u0178")

// fromWindows1252 decodes what old editors write.
func fromWindows1252(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		if c >= 0x80 && c < 0xA0 {
			b.WriteRune(upper1252[c-0x80])
			continue
		}
		b.WriteRune(rune(c))
	}
	return b.String()
}

func notProfile(kind string) error {
	if kind == zipKind {
		return fmt.Errorf("not an OpenVPN profile: it is %s; write profiles: in the place of "+
			"profile: to use those in it, or unpack it", kind)
	}
	if strings.HasSuffix(kind, ")") { // it says what to do
		return fmt.Errorf("not an OpenVPN profile: it is %s", kind)
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
	{"PK\x07\x08", "one part of a ZIP archive (put the parts together first)"},
	{"\x1f\x8b", "a gzip archive (unpack it first)"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it first)"},
	{"Rar!", "a RAR archive (unpack it first)"},
	{"\xfd7zXZ\x00", "an xz archive (unpack it first)"},
	{"BZh", "a bzip2 archive (unpack it first)"},
	{"\x28\xb5\x2f\xfd", "a Zstandard archive (unpack it first)"},
	{"%PDF-", "a PDF document"},
	{`{\rtf`, "a formatted document (RTF); save it as plain text"},
	{"\x89PNG", "a picture"}, {"\xff\xd8\xff", "a picture"}, {"GIF8", "a picture"},
	{"\x7fELF", "a program"}, {"MZ", "a Windows program"},
	{"\xd0\xcf\x11\xe0", "an Office document; save it as plain text"},
	{"bplist00", "an Apple profile"},
	{"\x00\x05\x16\x07", "what macOS keeps beside a file (the file is named without \"._\")"},
	{"Salted__", "an encrypted file (decrypt it first)"},
	{"age-encryption.org", "an encrypted file (decrypt it first)"},
	{"-----BEGIN PGP", "an encrypted or signed message (PGP)"},
	{"-----BEGIN PKCS7", "a signed Apple profile"}, {"-----BEGIN CMS", "a signed Apple profile"},
}

// texts are patterns of text files that people take for a profile.
var texts = []struct {
	pattern *regexp.Regexp
	kind    string
}{
	{regexp.MustCompile(`(?is)^\s*(<!--.*?-->\s*)*(<!doctype html|<html|<head|<body)`),
		"a web page, perhaps of a login that has expired"},
	{regexp.MustCompile(`(?i)^\s*(<\?xml|<plist)`), "an XML file (an Apple profile?)"},
	{regexp.MustCompile(`(?m)^\s*\[(Interface|Peer)\]\s*$`), "a WireGuard file"},
	{regexp.MustCompile(`(?m)^\s*\[(connection|vpn)\]\s*$`), "a NetworkManager file"},
	{regexp.MustCompile(`^\s*[\[{]+[\s"]`), "a JSON file"},
	{regexp.MustCompile(`(?m)^\s*&lt;(ca|cert|key|tls-\w+)&gt;`), "the source of a web page"},
	{regexp.MustCompile(`(?m)^conn\s+\S+\s*\n(.*\n)*?\s+(left|right)\w*=`), "an IPsec file"},
	{regexp.MustCompile(`^\s*(vpn|vless|vmess|ss|trojan|wg)://`), "a link for another kind of VPN"},
	{regexp.MustCompile(`^\s*(https?|openvpn)://\S+\s*$|^\[InternetShortcut\]`),
		"a link (open it, and save what it leads to)"},
	{regexp.MustCompile(`^(Return-Path|Delivered-To|Received|From|MIME-Version|Subject): `),
		"a whole e-mail (save its attachment)"},
	{regexp.MustCompile(`(?m)^\s*config\s+['"]?openvpn['"]?\s`), "an OpenWrt configuration"},
	{regexp.MustCompile(`(?m)^/(interface|ppp|certificate)\b`), "a script of a MikroTik router"},
	{regexp.MustCompile(`(?m)^declare root\s*$`), "a SoftEther file"},
	{regexp.MustCompile(`(?m)^\[(main|VPN)\]\s*\n(.*\n)*?(Host|PBVersion)=`),
		"a file of another VPN client"},
	{regexp.MustCompile(`^version https://git-lfs`), "a pointer of Git LFS, not the file itself"},
	{regexp.MustCompile(`^[A-Za-z0-9+/]{30,}[A-Za-z0-9+/\s]*={0,2}\s*$`),
		"text in base64 (decode it first)"},
	{regexp.MustCompile(`^\s*-----BEGIN `), "a key or certificate alone (the profile names it)"},
}

// tarMagic stands at tarOffset of a tar archive (POSIX ustar).
const (
	tarMagic  = "ustar"
	tarOffset = 257
)

// fileKind recognises files that are no profile by their first bytes; empty for all others.
func fileKind(data []byte) string {
	if len(bytes.TrimSpace(bytes.Trim(data, "\x00"))) == 0 {
		return "an empty file"
	}
	for _, s := range signatures {
		if bytes.HasPrefix(data, []byte(s.prefix)) {
			return s.kind
		}
	}
	if len(data) > tarOffset && bytes.HasPrefix(data[tarOffset:], []byte(tarMagic)) {
		return "a tar archive (unpack it first)"
	}
	// A sequence of ASN.1, of two to four bytes of length or of unknown length.
	if data[0] == 0x30 && len(data) > 1 && data[1] >= 0x80 && data[1] <= 0x84 &&
		bytes.IndexByte(data, 0) >= 0 {
		if bytes.Contains(data, []byte("<plist")) {
			return "a signed Apple profile"
		}
		return "a certificate or PKCS #12 bundle (the profile names it by a pkcs12 line)"
	}
	return textKind(strings.TrimPrefix(string(data[:min(len(data), maxHead)]), "\uFEFF"))
}

// maxHead is how much of a text is looked at to tell its kind, in bytes.
const maxHead = 4096

// textKind recognises texts that are no profile; empty for all others.
func textKind(text string) string {
	for _, t := range texts {
		if t.pattern.MatchString(text[:min(len(text), maxHead)]) {
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
