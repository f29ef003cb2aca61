package api

import (
	"fmt"
	"strings"
	"time"
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

// wrap writes words in lines of Width columns, the first behind head and the others behind hang.
func (p *page) wrap(head, hang, text string) {
	line := head
	fresh := true // nothing but indentation on this line yet
	for word := range strings.FieldsSeq(text) {
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

func (p *page) counters(c Counters) {
	p.field("traffic", fmt.Sprintf("in %s (%d packets), out %s (%d packets)", size(c.BytesIn), c.PacketsIn, size(c.BytesOut), c.PacketsOut))
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
	switch day := 24 * time.Hour; {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd %dh", d/day, d%day/time.Hour)
	}
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

func words[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = item.String()
	}
	return strings.Join(texts, " ")
}
