package support

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Redactor replaces what identifies a box or opens something. It belongs to one goroutine.
type Redactor struct {
	placeholders map[string]string // by kind and text
	count        map[string]int
	secrets      []string
	names        map[string]string // kind by name
	replacer     *strings.Replacer // of secrets; nil: they have changed
	nameRE       *regexp.Regexp    // of names; nil: they have changed
}

// NewRedactor returns a redactor that knows no secret and no name yet.
func NewRedactor() *Redactor {
	return &Redactor{placeholders: map[string]string{}, count: map[string]int{},
		names: map[string]string{}}
}

// leastSecret is the length of the shortest text that is replaced wherever it is found, also within
// words.
const leastSecret = 5

// Secret adds a text that must not be in the bundle, in any of the forms in which programs write
// it.
func (r *Redactor) Secret(text string) {
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	if len(text) < leastSecret {
		r.Name("secret", text)
		return
	}
	quoted, err := json.Marshal(text)
	if err == nil {
		r.secrets = append(r.secrets, strings.Trim(string(quoted), `"`))
	}
	r.secrets = append(r.secrets, text, url.QueryEscape(text), url.PathEscape(text),
		hex.EncodeToString([]byte(text)), base64.RawStdEncoding.EncodeToString([]byte(text)),
		base64.RawURLEncoding.EncodeToString([]byte(text)))
	r.replacer = nil
}

// vocabulary are words of our own: who calls an egress so has told nothing, and everything said of
// the word would become unreadable.
var vocabulary = []string{"zerotier", "openvpn", "wan", "endpoint", "interface", "ingress",
	"egress", "policy", "up", "down", "none", "all", "block", "ok", "root", "localhost",
	"true", "false"}

// Name adds a name of that kind: a person's word for something, or an identifier. What was added
// before keeps its kind.
func (r *Redactor) Name(kind, name string) {
	lower := strings.ToLower(name)
	if name == "" || r.names[lower] != "" || slices.Contains(vocabulary, lower) {
		return
	}
	r.names[lower] = kind
	r.nameRE = nil
}

func (r *Redactor) placeholder(kind, text string) string {
	key := kind + " " + strings.ToLower(text)
	if p, known := r.placeholders[key]; known {
		return p
	}
	r.count[kind]++
	p := fmt.Sprintf("%s-%d", kind, r.count[kind])
	r.placeholders[key] = p
	return p
}

var (
	pemRE = regexp.MustCompile(`(?s)-----BEGIN ([^-]+)-----.*?(-----END [^-]+-----|\z)`)
	// of HTTP: base64 of a name and a password together, or a token
	loginRE = regexp.MustCompile(`(?i)\b((?:basic|bearer)\s+)[A-Za-z0-9+/=._~-]{4,}`)
	urlRE   = regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*)://[^\s"'<>\x60]+`)
	// the address of a mail, or user@host
	mailRE = regexp.MustCompile(`(?i)\b[a-z0-9._%+-]+@[a-z0-9.-]+[a-z0-9]`)
	macRE  = regexp.MustCompile(`(?i)\b([0-9a-f]{2}(:[0-9a-f]{2}){5,}|[0-9a-f]{2}(-[0-9a-f]{2}){5})\b`)
	ipRE   = regexp.MustCompile(`(?i)\d{1,3}(\.\d{1,3}){3}|[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*`)
	// as names of machines have it
	dashedRE = regexp.MustCompile(`\b\d{1,3}(-\d{1,3}){3}\b`)
	nodeRE   = regexp.MustCompile(`(?i)\b[0-9a-f]{10}\b|\b[0-9a-f]{16}\b`)
	longRE   = regexp.MustCompile(`[A-Za-z0-9+/=_-]{32,}`)
	hostRE   = regexp.MustCompile(`(?i)\b([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}\b`)
)

// Redact returns a text without what was added, and without what looks like an address, a name of a
// machine, or a key. It is idempotent.
func (r *Redactor) Redact(text string) string {
	text = pemRE.ReplaceAllString(text, "(removed: $1)")
	text = r.secretReplacer().Replace(text)
	text = loginRE.ReplaceAllString(text, "${1}(secret)")
	text = urlRE.ReplaceAllStringFunc(text, r.url)
	text = mailRE.ReplaceAllStringFunc(text, func(s string) string {
		return r.placeholder("mail", s)
	})
	text = macRE.ReplaceAllStringFunc(text, func(s string) string {
		return r.placeholder("mac", s)
	})
	text = ipRE.ReplaceAllStringFunc(text, r.address)
	text = dashedRE.ReplaceAllStringFunc(text, func(s string) string {
		dotted := strings.ReplaceAll(s, "-", ".")
		if with := r.address(dotted); with != dotted {
			return with
		}
		return s
	})
	text = nodeRE.ReplaceAllStringFunc(text, func(s string) string {
		if !strings.ContainsAny(strings.ToLower(s), "abcdef") && r.names[s] == "" {
			return s // a number, such as a time
		}
		if len(s) == 16 {
			return r.placeholder("network", s)
		}
		return r.placeholder("node", s)
	})
	text = longRE.ReplaceAllStringFunc(text, r.long)
	text = hostRE.ReplaceAllStringFunc(text, r.host)
	return r.known(text)
}

func (r *Redactor) secretReplacer() *strings.Replacer {
	if r.replacer == nil {
		slices.SortFunc(r.secrets, func(a, b string) int {
			return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
		})
		var pairs []string
		for _, s := range slices.Compact(r.secrets) {
			pairs = append(pairs, s, "(secret)")
		}
		r.replacer = strings.NewReplacer(pairs...)
	}
	return r.replacer
}

// ours are hosts of documents that messages lead to.
var ours = []string{"www.zerotier.com", "my.zerotier.com", "docs.zerotier.com",
	"age-encryption.org", "ztbridge.local"}

func (r *Redactor) url(s string) string {
	u, err := url.Parse(s)
	if err == nil && u.User == nil && u.RawQuery == "" && slices.Contains(ours, u.Hostname()) {
		return s
	}
	scheme, _, _ := strings.Cut(s, "://")
	if strings.HasPrefix(s, scheme+"://url-") {
		return s
	}
	return scheme + "://" + r.placeholder("url", s)
}

// address replaces addresses that the world, or the rest of a ZeroTier network, knows a box by.
func (r *Redactor) address(s string) string {
	trimmed := strings.TrimRight(s, ".:")
	addr, err := netip.ParseAddr(trimmed)
	if err != nil {
		if addr, err = netip.ParseAddr(s); err != nil { // such as "::"
			return s
		}
		trimmed = s
	}
	addr = addr.Unmap()
	if addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() ||
		addr.Is4() && (addr.IsPrivate() || addr.IsLinkLocalUnicast() || isShared(addr) ||
			addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})) {
		return s
	}
	return r.placeholder("address", addr.String()) + s[len(trimmed):]
}

// isShared reports whether an address is one between a provider and its customers (RFC 6598).
func isShared(addr netip.Addr) bool { return netip.MustParsePrefix("100.64.0.0/10").Contains(addr) }

// long replaces what is long and mixed enough to be a key.
func (r *Redactor) long(s string) string {
	digits, letters := strings.ContainsAny(s, "0123456789"),
		strings.ContainsFunc(s, func(c rune) bool { return c >= 'A' && c <= 'z' })
	isPath := strings.HasPrefix(s, "/") && !strings.ContainsAny(s, "+=") // base64 has all three
	if !digits || !letters || isPath {
		return s
	}
	return r.placeholder("key", s)
}

// files are ends of names that are no names of machines, and heads are their beginnings.
var (
	files = strings.Fields("yaml yml ovpn auth conf json service timer socket target mount " +
		"slice scope path device go so ko log txt pem crt key db sock state secret public sh " +
		"zip age gz xz deb img md html css js pid lock local network netdev link")
	// Ends that are domains as well: three labels are a machine, and so is what calls itself local.
	domains = strings.Fields("sh zip md so network link local")
	heads   = strings.Fields("net kernel vm fs egress ingress zerotier policy inbound peering " +
		"endpoint probe updates metrics notify history page org")
)

func (r *Redactor) host(s string) string {
	labels := strings.Split(strings.ToLower(s), ".")
	end, whole := labels[len(labels)-1], strings.ToLower(s)
	isFile := slices.Contains(files, end) &&
		(end != "local" && len(labels) == 2 || !slices.Contains(domains, end))
	if isFile || slices.Contains(heads, labels[0]) || slices.Contains(ours, whole) {
		return s
	}
	return r.placeholder("host", s)
}

// known replaces names, as whole words.
func (r *Redactor) known(text string) string {
	if len(r.names) == 0 {
		return text
	}
	if r.nameRE == nil {
		var all []string
		for name := range r.names {
			all = append(all, regexp.QuoteMeta(name))
		}
		slices.SortFunc(all, func(a, b string) int {
			return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
		})
		r.nameRE = regexp.MustCompile(`(?i)(^|[^\pL\pN_-])(` + strings.Join(all, "|") + `)`)
	}
	var b strings.Builder
	for {
		at := r.nameRE.FindStringSubmatchIndex(text)
		if at == nil {
			return b.String() + text
		}
		name := text[at[4]:at[5]]
		b.WriteString(text[:at[4]])
		if wordGoesOn(text[at[5]:]) {
			b.WriteString(name)
		} else {
			b.WriteString(r.placeholder(r.names[strings.ToLower(name)], name))
		}
		text = text[at[5]:]
	}
}

var wordRE = regexp.MustCompile(`^[\pL\pN_]|^-[\pL\pN]`)

func wordGoesOn(rest string) bool { return wordRE.MatchString(rest) }
