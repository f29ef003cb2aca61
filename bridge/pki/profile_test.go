package pki

import (
	"slices"
	"strings"
	"testing"
)

// What the mobile programs do with a directive, read in their sources:
//
//   - OpenVPN 3 core (OpenVPN Connect, OpenVPN 3 Linux), github.com/OpenVPN/openvpn3 at
//     aa57ac46b6c8 of 15 July 2026, openvpn/client/cliopt.hpp, handle_unused_options: a directive
//     that the core neither reads nor finds in one of its lists of harmless ones refuses the whole
//     profile ("UNKNOWN/UNSUPPORTED OPTIONS").
//   - OpenVPN for Android, github.com/schwabe/ics-openvpn at ede0aa0b3344 of 12 July 2026,
//     main/src/main/java/de/blinkt/openvpn/core/ConfigParser.java: unsupportedOptions (`config`,
//     `tls-server`) refuse the profile, and so does a known directive with another number of
//     arguments (getAllOption); ignoreOptions are left out; what it does not know it passes on to
//     OpenVPN 2.
//
// min and max are the numbers of arguments that both accept.
var mobileDirectives = map[string]struct {
	min, max int
	why      string
}{
	"client":              {0, 0, "3: demanded; Android: pull"},
	"dev":                 {1, 1, "3: read, layer 3 only; Android: must begin with tun"},
	"nobind":              {0, 0, "3: ignored silently; Android: read"},
	"persist-tun":         {0, 0, "3: ignored with a warning; Android: read"},
	"preresolve":          {0, 0, "3: ignored with a warning; Android: ignored, it says so itself"},
	"remote":              {1, 3, "3: read; Android: read"},
	"server-poll-timeout": {1, 1, "3: read; Android: passed on to OpenVPN 2"},
	"remote-cert-tls":     {1, 1, "3: read; Android: read"},
	"verify-x509-name":    {1, 2, "3: read; Android: read"},
	"tls-version-min":     {1, 2, "3: read; Android: passed on to OpenVPN 2"},
	"verb":                {1, 1, "3: ignored silently; Android: read"},
	"<ca>":                {0, 0, "3: read; Android: read"},
	"<cert>":              {0, 0, "3: read; Android: read"},
	"<key>":               {0, 0, "3: read; Android: read"},
	"<tls-crypt-v2>":      {0, 0, "3: read; Android: read"},
}

func testProfile(t *testing.T, remotes ...Remote) string {
	t.Helper()
	s, _ := newStore(t)
	ensure(t, s)
	add(t, s, "phone")
	creds, err := s.Credentials("phone")
	if err != nil {
		t.Fatal(err)
	}
	text, err := Profile(creds, "vm.example.org", remotes)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// directives splits a profile as all parsers do: inline blocks, comments, words.
func directives(t *testing.T, text string) [][]string {
	t.Helper()
	var out [][]string
	inside := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case inside != "":
			if line == "</"+inside {
				inside = ""
			}
		case line == "" || line[0] == '#' || line[0] == ';':
		default:
			if strings.HasPrefix(line, "<") {
				inside = line[1:]
			}
			out = append(out, strings.Fields(line))
		}
	}
	if inside != "" {
		t.Fatalf("the block <%s is not closed", inside)
	}
	return out
}

func TestProfileIsAcceptedByMobileParsers(t *testing.T) {
	text := testProfile(t, Remote{"tcp", 443}, Remote{"udp", 1194})
	for _, d := range directives(t, text) {
		known, ok := mobileDirectives[d[0]]
		if !ok {
			t.Errorf("%q: a mobile parser may refuse the whole profile for it", d[0])
			continue
		}
		if n := len(d) - 1; n < known.min || n > known.max {
			t.Errorf("%v: %d arguments, accepted are %d to %d", d, n, known.min, known.max)
		}
	}
	for line := range strings.Lines(text) {
		// OpenVPN 2 cuts lines at 256 characters (OPTION_LINE_SIZE).
		if len(line) > 255 {
			t.Errorf("a line of %d characters: %.40s…", len(line), line)
		}
	}
	if strings.ContainsAny(text, "\\\"'\r\t") {
		t.Error("a character that the parsers quote differently")
	}
}

func TestProfileTriesUDPFirst(t *testing.T) {
	text := testProfile(t, Remote{"tcp", 443}, Remote{"tcp", 8443}, Remote{"udp", 1194},
		Remote{"udp", 53})
	var got []string
	for _, d := range directives(t, text) {
		if d[0] == "remote" {
			got = append(got, d[3]+"/"+d[2])
		}
	}
	want := []string{"udp/1194", "udp/53", "tcp/443", "tcp/8443"}
	if !slices.Equal(got, want) {
		t.Errorf("remotes %v, want %v", got, want)
	}
}

func TestProfileRefusesWhatIsNoAddress(t *testing.T) {
	for address, good := range map[string]bool{
		"vm.example.org": true, "203.0.113.7": true, "2001:db8::7": true, "localhost": true,
		"": false, "a b": false, "x\nscript-security 2": false, "fe80::1%eth0": false, "-x": false,
		"a..b":                          false,
		strings.Repeat("a.", 127) + "a": false,
	} {
		_, err := Profile(Credentials{}, address, []Remote{{"udp", 1194}})
		if (err == nil) != good {
			t.Errorf("address %.40q: %v", address, err)
		}
	}
	if _, err := Profile(Credentials{}, "vm.example.org", nil); err == nil {
		t.Error("a profile without a remote was written")
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(
		[]byte(
			`{"version":1,"clients":[{"name":"a","serial":"4f","issued":"2026-01-01T00:00:00Z","expires":"2027-01-01T00:00:00Z","host":2}],"revoked":[],"next_host":3}`))
	f.Add([]byte(`{"version":1,"clients":[{"name":"../a","serial":"4f"}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"clients":[{"name":"a","serial":"4f","network_only":true,"no_dns":true}]}`))
	f.Add([]byte(`{"version":2,"clients":[{"name":"a","serial":"4f","tunnel":"zerotier","dns":false}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ix, err := parseIndex(data)
		if err != nil {
			return
		}
		for _, c := range ix.Clients {
			if path := credentialsFile(c); strings.Count(path, "/") != 1 {
				t.Errorf("client %q keeps its keys in %q", c.Name, path)
			}
		}
		again, err := ix.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseIndex(again); err != nil {
			t.Errorf("what was read cannot be read again: %v", err)
		}
	})
}
