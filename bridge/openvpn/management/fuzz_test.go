package management

import (
	"context"
	"net"
	"strings"
	"testing"

	ovpn "github.com/mysteriumnetwork/go-openvpn/openvpn/management"
)

// FuzzLines feeds arbitrary bytes as openvpn's side: the reader and the parsers must neither panic
// nor hang, and what they accept must be whole.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		">STATE:1,CONNECTED,SUCCESS,10.0.0.2,192.0.2.1,1194,,\n", ">LOG:1,I,text, with commas\n",
		">UPDOWN:UP\n>UPDOWN:ENV,a=b\n>UPDOWN:ENV,END\n",
		"SUCCESS: x\n", "ERROR: y\n", ">\n", ">:\n", "END\n", ">CLIENT:ENV,=\n", ">HOLD\r\n",
		strings.Repeat("x", 100) + "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		c := newConn(ours, quiet)
		go func() {
			_, _ = theirs.Write(data)
			_ = theirs.Close()
		}()
		r := &lineParser{t: t}
		if err := c.Serve(context.Background(), r); err != nil &&
			!strings.Contains(err.Error(), "longer than") &&
			!strings.Contains(err.Error(), "closed pipe") {
			t.Errorf("Serve: %v", err)
		}
	})
}

// lineParser tries all parsers on each event.
type lineParser struct {
	t   *testing.T
	env Env
}

func (*lineParser) Start(ovpn.CommandWriter) error { return nil }
func (*lineParser) Stop(ovpn.CommandWriter) error  { return nil }
func (p *lineParser) ConsumeLine(line string) (bool, error) {
	if strings.ContainsAny(line, "\n") || !strings.HasPrefix(line, ">") {
		p.t.Errorf("not one event: %q", line)
	}
	_, rest, _ := SplitEvent(line)
	if e, err := ParseState(rest); err == nil && e.Name == "" {
		p.t.Errorf("a state without a name from %q", line)
	}
	if e, err := ParseLog(rest); err == nil && !strings.HasSuffix(line, e.Text) {
		p.t.Errorf("%q lost its text: %q", line, e.Text)
	}
	if text, ok := strings.CutPrefix(rest, "ENV,"); ok {
		if block, complete := p.env.Add(text); complete && block == nil {
			p.t.Error("a complete block that is nil")
		}
	}
	return true, nil
}

// FuzzQuote checks that what is quoted is one word and the same word for OpenVPN's lexer, and stays
// one line or is refused.
func FuzzQuote(f *testing.F) {
	f.Add(`a"b\c 'd' #e`)
	f.Fuzz(func(t *testing.T, s string) {
		text, err := frame("password "+Quote("Auth")+" "+Quote(s), nil)
		if err != nil {
			if !strings.ContainsAny(s, "\n\r\x00") {
				t.Errorf("%q is refused: %v", s, err)
			}
			return
		}
		if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
			t.Fatalf("%q is not one line", text)
		}
		word := strings.TrimSuffix(strings.TrimPrefix(text, `password "Auth" "`), "\"\n")
		var b strings.Builder
		for i := 0; i < len(word); i++ {
			if word[i] == '"' {
				t.Fatalf("%q ends early", text)
			}
			if word[i] == '\\' {
				i++
			}
			b.WriteByte(word[i])
		}
		if b.String() != s {
			t.Errorf("%q is read as %q", s, b.String())
		}
	})
}
