package config

import (
	"strings"

	"ztbridge/bridge/suggest"
)

// didYouMean returns `did you mean "x"?` for the candidate nearest to a mistyped word, or else the
// fallback.
func didYouMean(word string, candidates []string, fallback string) string {
	best := suggest.Nearest(word, candidates)
	if best == "" {
		return fallback
	}
	return `did you mean "` + best + `"?`
}

// join writes a list for people: `a`, `a or b`, `a, b or c`.
func join(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
