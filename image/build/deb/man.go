package deb

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// help is what the program itself says about one of its commands: the manual cannot disagree with
// it.
type help struct {
	name     string // "ztbridge egress use"
	text     string // before the usage
	usage    string
	flags    string
	commands []string
}

var commandLineRE = regexp.MustCompile(`^  ([a-z][a-z-]*) +\S`)

// parseHelp takes cobra's help text apart.
func parseHelp(name, text string) help {
	h := help{name: name}
	section := &h.text
	ignored := ""
	for _, line := range strings.Split(text, "\n") {
		switch strings.TrimSpace(line) {
		case "Usage:":
			section = &h.usage
			continue
		case "Flags:":
			section = &h.flags
			continue
		case "Available Commands:":
			section = nil
			continue
		case "Global Flags:", "Aliases:", "Examples:", "Additional help topics:":
			section = &ignored
			continue
		}
		if strings.HasPrefix(line, `Use "`) {
			section = &ignored
		}
		if section != nil {
			*section += line + "\n"
			continue
		}
		if m := commandLineRE.FindStringSubmatch(line); m != nil && m[1] != "help" {
			h.commands = append(h.commands, m[1])
		}
	}
	return h
}

// walk asks the program about itself and each of its commands, in their order.
func walk(ctx context.Context, binary string, path []string) ([]help, error) {
	args := append(append([]string(nil), path...), "--help")
	out, err := exec.CommandContext(ctx, binary, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("asking ztbridge %s for help: %w", strings.Join(path, " "), err)
	}
	h := parseHelp(strings.Join(append([]string{"ztbridge"}, path...), " "), string(out))
	all := []help{h}
	for _, command := range h.commands {
		below, err := walk(ctx, binary, append(append([]string(nil), path...), command))
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return all, nil
}

// manPage writes ztbridge(1).
func manPage(pages []help, when time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b,
		".TH ZTBRIDGE 1 %q\n.SH NAME\nztbridge \\- gateway from ZeroTier to OpenVPN that does "+
			"not leak\n", when.Format("2006-01-02"))
	for i, p := range pages {
		if i == 0 {
			b.WriteString(
				".SH SYNOPSIS\n.B ztbridge\n.I command\n.RI [ options ]\n.SH DESCRIPTION\n" +
					roff(p.text) + ".SH OPTIONS\nThese go with every command.\n" +
					verbatim(p.flags) + ".SH COMMANDS\n")
			continue
		}
		fmt.Fprintf(&b, ".SS %s\n%s%s%s", roffLine(p.name), roff(p.text), verbatim(p.usage),
			verbatim(p.flags))
	}
	b.WriteString(
		".SH FILES\n.TP\n.I /etc/ztbridge/ztbridge.yaml\nThe configuration, see\n.BR " +
			"ztbridge.yaml (5).\n" +
			".SH SEE ALSO\n.BR ztbridge.yaml (5),\n.BR openvpn (8)\n")
	return b.String()
}

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

func roff(text string) string {
	var b strings.Builder
	for _, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		b.WriteString(".PP\n")
		for _, line := range strings.Split(paragraph, "\n") {
			b.WriteString(roffLine(line) + "\n")
		}
	}
	return b.String()
}

func verbatim(text string) string {
	text = strings.Trim(text, "\n")
	if text == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(".PP\n.nf\n")
	for _, line := range strings.Split(text, "\n") {
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
