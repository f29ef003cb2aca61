package profile

import (
	"errors"
	"regexp"
	"strings"
)

// maxParams is OpenVPN's MAX_PARMS: further words of a line are not read.
const maxParams = 16

// maxLine is the longest line that OpenVPN 2.6 reads, without its line feed (OPTION_LINE_SIZE 256
// holds the line feed and, to tell a full buffer from a long line, one more).
const maxLine = 254

// directive is one line of a profile, or one inline block.
type directive struct {
	line   int // from 1, of the first line
	name   string
	args   []string
	inline bool
	body   string // between the tags, lines ended by \n
	// again: an inline block of the same name follows and counts instead.
	again bool
	// optional: OpenVPN passes over it where it does not know it ("setenv opt").
	optional bool
}

var (
	errQuote     = errors.New("a quotation is not closed")
	errBackslash = errors.New(`a backslash is followed by neither \, " nor a space: ` +
		`write it twice`)
	errTail = errors.New("the line ends in a backslash")
)

// isSpace is isspace(3) in the C locale.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// splitWords splits a line as OpenVPN's parse_line does (options.c): words end at white space; '#'
// and ';' begin a comment where a word could begin; "…" and '…' quote; a backslash outside '…'
// escapes itself, '"' and white space. Beside that, curly quotation marks quote.
func splitWords(line string) ([]string, error) {
	var words []string
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case isSpace(c):
			i++
			continue
		case c == '#' || c == ';':
			return words, nil
		case c == '\\' && (i+1 == len(line) || isSpace(line[i+1])): // begins no word
			i += 2
			continue
		}
		word, next, err := readWord(line, i)
		if err != nil {
			return nil, err
		}
		i = next
		if words = append(words, word); len(words) == maxParams {
			break
		}
	}
	return words, nil
}

// readWord reads the word that begins at line[i] and returns the index behind it.
func readWord(line string, i int) (word string, next int, err error) {
	if word, next, ok := readCurly(line, i); ok {
		return word, next, nil
	}
	quote := byte(0)
	if line[i] == '"' || line[i] == '\'' {
		quote = line[i]
		i++
	}
	var b strings.Builder
	for ; i < len(line); i++ {
		c := line[i]
		if c == '\\' && quote != '\'' {
			if i++; i == len(line) {
				return "", i, errTail
			}
			if c = line[i]; c != '\\' && c != '"' && !isSpace(c) {
				return "", i, errBackslash
			}
			b.WriteByte(c)
			continue
		}
		if quote == 0 && isSpace(c) || quote != 0 && c == quote {
			return b.String(), i + 1, nil
		}
		b.WriteByte(c)
	}
	if quote != 0 {
		return "", i, errQuote
	}
	return b.String(), i, nil
}

// lineEnds are those of Windows and of old Macs, and Unicode's separators.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n",
	"\u2029", "\n")

// lex splits a profile into directives. It takes UTF-16, Windows-1252, a byte order mark, line ends
// of all kinds, a leading "--", and "setenv opt X …", which OpenVPN reads as "X …".
func lex(data []byte, name string) ([]directive, error) {
	text, err := plainText(data)
	if err != nil {
		return nil, &Error{Name: name, Reason: err.Error()}
	}
	lines := strings.Split(lineEnds.Replace(text), "\n")
	straighten(lines)
	return lexLines(lines, 1, name)
}

// lexLines splits lines, the first of which has the number first.
func lexLines(lines []string, first int, name string) ([]directive, error) {
	var out []directive
	for i := 0; i < len(lines); i++ {
		number := first + i
		words, err := splitWords(lines[i])
		if err != nil {
			return nil, &Error{Name: name, Line: number, Reason: err.Error()}
		}
		if len(words) == 0 {
			continue
		}
		optional := len(words) >= 3 && words[0] == "setenv" && words[1] == "opt"
		if optional {
			words = words[2:]
		}
		if w := words[0]; len(w) >= 3 && strings.HasPrefix(w, "--") {
			words[0] = w[2:]
		}
		d := directive{line: number, name: words[0], args: words[1:], optional: optional}
		if tag, ok := openingTag(words); ok {
			end := closingLine(lines, i+1, "</"+tag+">")
			if end < 0 {
				return nil, &Error{Name: name, Line: number, Directive: "<" + tag + ">",
					Reason: "the block is not closed by </" + tag + ">"}
			}
			d = directive{line: number, name: tag, inline: true, body: joinLines(lines[i+1 : end])}
			i = end
		}
		out = append(out, d)
	}
	followed := map[string]bool{}
	for i := len(out) - 1; i >= 0; i-- {
		out[i].again = followed[out[i].name]
		followed[out[i].name] = followed[out[i].name] || out[i].inline
	}
	return out, nil
}

func openingTag(words []string) (string, bool) {
	w := words[0]
	if len(words) != 1 || len(w) < 3 || w[0] != '<' || w[len(w)-1] != '>' {
		return "", false
	}
	return w[1 : len(w)-1], true
}

// closingLine returns the index of the first line from i on that begins with tag, or -1.
func closingLine(lines []string, i int, tag string) int {
	for ; i < len(lines); i++ {
		if strings.HasPrefix(strings.TrimLeft(lines[i], " \t\v\f"), tag) {
			return i
		}
	}
	return -1
}

func joinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@+=,!-]+$`)

// quoteWord writes a word so that splitWords, and OpenVPN, read it back. The word must hold no
// control character.
func quoteWord(w string) string {
	if plainWord.MatchString(w) {
		return w
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
}
