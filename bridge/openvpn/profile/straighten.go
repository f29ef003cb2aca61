package profile

import (
	"regexp"
	"strings"
	"unicode"
)

// Logins are typed exactly: nothing in these blocks is straightened.
var loginBlocks = []string{"auth-user-pass", "http-proxy-user-pass"}

// straighten replaces, in lines of a profile, what web pages, mail and note programs write in the
// place of ASCII: spaces of other widths, marks that nobody sees, and dashes.
func straighten(lines []string) {
	login := ""
	for i, line := range lines {
		trimmed := strings.TrimSpace(line)
		if login != "" {
			if strings.HasPrefix(trimmed, "</"+login+">") {
				login = ""
			}
			continue
		}
		lines[i] = straightLine(line)
		for _, name := range loginBlocks {
			if strings.HasPrefix(strings.TrimSpace(lines[i]), "<"+name+">") {
				login = name
			}
		}
	}
}

var (
	// longDash is a directive behind what was "--".
	longDash = regexp.MustCompile(`^(\s*)[\x{2010}-\x{2015}\x{2212}]{1,2}([a-z])`)
	// pemBorder is the first or last line of a PEM block with other dashes than hyphens.
	pemBorder = regexp.MustCompile(`^(\s*)[-\x{2010}-\x{2015}\x{2212}]+ ?(BEGIN|END) ` +
		`([A-Za-z0-9][A-Za-z0-9 -]*?) ?[-\x{2010}-\x{2015}\x{2212}]+\s*$`)
)

func straightLine(line string) string {
	if strings.IndexFunc(line, func(r rune) bool { return r > unicode.MaxASCII }) < 0 {
		return line
	}
	line = strings.Map(func(r rune) rune {
		switch {
		case r <= unicode.MaxASCII:
			return r
		case unicode.Is(unicode.Zs, r):
			return ' '
		case unicode.Is(unicode.Cf, r): // a byte order mark, and others without a width
			return -1
		}
		return r
	}, line)
	line = longDash.ReplaceAllString(line, "${1}--${2}")
	return pemBorder.ReplaceAllString(line, "${1}-----${2} ${3}-----")
}

// curlyQuotes are quotation marks that word processors write, by the one that begins.
var curlyQuotes = map[string]string{"\u201c": "\u201d", "\u201e": "\u201c", "\u2018": "\u2019",
	"\u201a": "\u2018", "\u00ab": "\u00bb"}

// readCurly reads a word between curly quotation marks that begins at line[i], if there is one.
func readCurly(line string, i int) (word string, next int, ok bool) {
	for open, end := range curlyQuotes {
		rest, begins := strings.CutPrefix(line[i:], open)
		if !begins {
			continue
		}
		word, _, ok = strings.Cut(rest, end)
		return word, i + len(open) + len(word) + len(end), ok
	}
	return "", 0, false
}
