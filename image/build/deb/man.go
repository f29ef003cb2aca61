package deb

import (
	"fmt"
	"strings"
	"time"
)

// configPage writes ztbridge.yaml(5): the commented reference file is the manual.
func configPage(reference []byte, when time.Time) string {
	return fmt.Sprintf(
		".TH ZTBRIDGE.YAML 5 %q\n.SH NAME\nztbridge.yaml \\- configuration of ztbridge\n.SH "+
			"DESCRIPTION\n"+
			"The reference explains every key; what is commented out shows a default or an "+
			"example.\n%s.SH SEE ALSO\n.BR ztbridge (1)\n",
		when.Format("2006-01-02"), verbatim(ascii(string(reference))))
}

// ascii replaces the lines drawn in comments, which not every terminal's man can show.
func ascii(s string) string { return strings.ReplaceAll(s, "─", "-") }

func verbatim(text string) string {
	text = strings.Trim(text, "\n")
	if text == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(".PP\n.nf\n")
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString(roffLine(line) + "\n")
	}
	b.WriteString(".fi\n")
	return b.String()
}

// roffLine keeps a line's characters from being requests or hyphens that break.
func roffLine(line string) string {
	line = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(line)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}
