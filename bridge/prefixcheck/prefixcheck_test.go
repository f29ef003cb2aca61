package prefixcheck

import (
	"log/slog"
	"net/netip"
	"testing"
)

// Only an answer to this checker's own echo, at the address that it was sent from, says that the
// prefix works.
func TestSawReply(t *testing.T) {
	source := netip.MustParseAddr("2001:db8:1:2:8000:ffff:ffff:fffa")
	c := New(Config{Source: source, Notify: func() {}, Logger: slog.New(slog.DiscardHandler)})
	stranger := New(Config{Source: source})
	for name, saw := range map[string]func(){
		"another address":    func() { c.SawReply(source.Next(), c.nonce[:]) },
		"another's echo":     func() { c.SawReply(source, stranger.nonce[:]) },
		"cut short":          func() { c.SawReply(source, c.nonce[:8]) },
		"nothing in it":      func() { c.SawReply(source, nil) },
		"no answer anywhere": func() {},
	} {
		saw()
		select {
		case <-c.seen:
			t.Errorf("%s was taken for an answer", name)
		default:
		}
	}
	for range 3 { // must not block, though nobody reads
		c.SawReply(source, append(c.nonce[:], "padding"...))
	}
	select {
	case <-c.seen:
	default:
		t.Error("an answer was overlooked")
	}
}

func TestOutcomeChangesAreSaid(t *testing.T) {
	said := 0
	c := New(Config{Notify: func() { said++ }, Logger: slog.New(slog.DiscardHandler)})
	for _, v := range []Outcome{Unknown, Lost, Lost, Works, Works, Unknown} {
		c.publish(v, nil)
		if c.Outcome() != v {
			t.Errorf("the outcome is %v, want %v", c.Outcome(), v)
		}
	}
	if said != 3 {
		t.Errorf("%d changes were said, want 3", said)
	}
}
