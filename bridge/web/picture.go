package web

import (
	"fmt"
	"slices"
	"strings"

	"ztbridge/bridge/api"
)

// Heights of the picture's boxes and the gaps between them, as the style sheet has them.
const (
	nodeHeight = 60
	nodeStep   = 74
	wireWidth  = 56
)

// picture shows ingress → rule → egress as three columns with lines between.
type picture struct {
	Ingresses, Rules, Exits []node
	Height, Width           int
	In, Out                 []wire // between the first and second column, the second and third
}

type node struct{ Name, Text, Class string }

// wire is a line of the picture. Lines in use are drawn over the others.
type wire struct{ Path, Class string }

// wires is one drawing of lines, with its size in pixels.
type wires struct {
	Width, Height int
	Wires         []wire
}

// pictureOf draws what flows where now.
func pictureOf(s api.Status) picture {
	p := picture{Width: wireWidth}
	exits := map[string]int{}
	used := inUse(s)
	for i, e := range s.Egresses {
		exits[e.Name] = i
		n := node{Name: e.Name, Text: sentence(words(e.State))}
		switch {
		case slices.Contains(used, e.Name):
			n.Class, n.Text = "used", n.Text+", in use"
		case !e.Usable:
			n.Class = "dead"
		}
		p.Exits = append(p.Exits, n)
	}
	rules := map[string]int{}
	for i, r := range s.Policies {
		rules[r.Name] = i
		p.Rules = append(p.Rules, ruleNode(r))
		for _, name := range r.Wanted {
			if to, ok := exits[name]; ok {
				p.Out = append(p.Out, wire{curve(i, to), wireClass(r, name)})
			}
		}
	}
	for i, g := range s.Ingresses {
		n := node{Name: g.Name, Text: sentence(words(g.State))}
		if g.State != "up" {
			n.Class = "dead"
		}
		p.Ingresses = append(p.Ingresses, n)
		p.In = append(p.In, wiresFrom(i, g, rules)...)
	}
	for _, list := range [][]wire{p.In, p.Out} {
		slices.SortStableFunc(list,
			func(a, b wire) int { return strings.Compare(a.Class, b.Class) })
	}
	rows := max(len(p.Ingresses), len(p.Rules), len(p.Exits), 1)
	p.Height = rows*nodeStep - (nodeStep - nodeHeight)
	return p
}

func ruleNode(r api.Policy) node {
	n := node{Name: namesOf(r), Text: "Blocked"}
	switch {
	case r.Off:
		n.Class, n.Text = "dead", "Not now: "+strings.Join(r.At, ", ")
		return n
	case r.Egress != "":
		n.Class, n.Text = "used", "Leaves "+leavesBy(r)
	case r.Egress6 != "":
		n.Class, n.Text = "used", sentence(leavesBy(r))
	case len(r.Wanted) > 0:
		n.Class, n.Text = "dead", "Blocked: no exit is connected"
	}
	if len(r.Wanted) > 1 {
		n.Text += " (order: " + strings.Join(r.Wanted, ", ") + ")"
	}
	return n
}

func wireClass(r api.Policy, exit string) string {
	switch {
	case exit == r.Egress || exit == r.Egress6:
		return "used"
	case r.Egress == "":
		return "cut"
	}
	return ""
}

func wiresFrom(i int, g api.Ingress, rules map[string]int) []wire {
	var out []wire
	for _, a := range g.Goes {
		to, ok := rules[a.Rule]
		if !ok {
			continue
		}
		class := ""
		if a.Egress != "" && g.State == "up" {
			class = "used"
		}
		w := wire{curve(i, to), class}
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// curve is a line from one row of a column to another row of the next.
func curve(from, to int) string {
	y := func(row int) int { return row*nodeStep + nodeHeight/2 }
	return fmt.Sprintf("M0 %d C%d %d %d %d %d %d", y(from), wireWidth/2, y(from), wireWidth/2,
		y(to), wireWidth, y(to))
}
