package api

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// keyWidth is the column at which values begin, behind the indentation.
const keyWidth = 11

// page is text with aligned fields and wrapped lines.
type page struct {
	now time.Time
	b   strings.Builder
}

// title begins a block.
func (p *page) title(text string) {
	if p.b.Len() > 0 {
		p.b.WriteByte('\n')
	}
	p.text("", strings.Join(strings.Fields(text), " "))
}

// field writes a key and its value; nothing when the value is empty.
func (p *page) field(key, value string) {
	if value != "" {
		p.wrap(fmt.Sprintf("  %-*s", keyWidth, key), strings.Repeat(" ", keyWidth+2), value)
	}
}

// text writes a paragraph.
func (p *page) text(indent, text string) {
	if text != "" {
		p.wrap(indent, indent+"  ", text)
	}
}

// command writes a shell command whole: a line that is broken cannot be pasted.
func (p *page) command(indent, command string) {
	if command != "" {
		p.b.WriteString(indent + strings.Map(printable, command) + "\n")
	}
}

// wrap writes words in lines of Width columns, the first behind head and the others behind hang.
// Some words come from strangers (a network's title): what would steer the terminal is replaced.
func (p *page) wrap(head, hang, text string) {
	line := head
	fresh := true // nothing but indentation on this line yet
	for word := range strings.FieldsSeq(strings.Map(printable, text)) {
		if !fresh && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > Width {
			p.b.WriteString(line + "\n")
			line, fresh = hang, true
		}
		if !fresh {
			line += " "
		}
		line += word
		fresh = false
	}
	p.b.WriteString(strings.TrimRight(line, " ") + "\n")
}

func printable(r rune) rune {
	if unicode.IsPrint(r) || unicode.IsSpace(r) {
		return r
	}
	return utf8.RuneError
}

func (p *page) counters(c Counters) {
	p.field("traffic", fmt.Sprintf("in %s (%d packets), out %s (%d packets)", size(c.BytesIn),
		c.PacketsIn, size(c.BytesOut), c.PacketsOut))
}

func (p *page) mtu(bytes int) {
	if bytes > 0 {
		p.field("mtu", fmt.Sprint(bytes))
	}
}

func (p *page) change(c Change) {
	if !c.At.IsZero() {
		p.field("changed", fmt.Sprintf("%s ago: %s%s", p.age(c.At), c.What, because(c.Cause)))
	}
}

// age tells how long ago something was, in the two greatest units.
func (p *page) age(at time.Time) string {
	d := p.now.Sub(at)
	if at.IsZero() || d < 0 {
		d = 0
	}
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, unit := range units[:3] {
		if d < unit.size {
			continue
		}
		text := fmt.Sprintf("%d%s", d/unit.size, unit.name)
		if rest := d % unit.size / units[i+1].size; rest > 0 {
			text += fmt.Sprintf(" %d%s", rest, units[i+1].name)
		}
		return text
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func size(bytes uint64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, prefix := float64(bytes)/unit, 0
	for value >= unit && prefix < len("KMGTPE")-1 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[prefix])
}

func words[T fmt.Stringer](list []T) string { return Join(list, " ") }

// Join returns the texts of a list with a separator between them.
func Join[T fmt.Stringer](list []T, separator string) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = item.String()
	}
	return strings.Join(texts, separator)
}
