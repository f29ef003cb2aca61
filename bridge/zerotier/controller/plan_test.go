package controller

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/zerotier"
)

const (
	testNetwork = zerotier.NetworkID(0xa1b2c3d4e5000001)
	testBox     = zerotier.Address(0x375530c131)
)

func network(t *testing.T, text string) Network {
	t.Helper()
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	n := Network{ID: testNetwork}
	if err := s.decode(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func member(address zerotier.Address, texts ...string) Member {
	list, err := parseAddrs(texts)
	if err != nil {
		panic(err)
	}
	return Member{Address: address, Authorized: true, Addrs: list}
}

func TestPlanSetup(t *testing.T) {
	const subnet = `"v4AssignMode":{"zt":true},"routes":[{"target":"10.147.17.0/24"}`
	cases := []struct {
		name, network string
		members       []Member
		want          Wanted
		lines         string // of the plan, without routes that stay
	}{
		{"all is there", `{"dns":{"servers":["10.147.17.5"]},` + subnet +
			`,{"target":"0.0.0.0/0","via":"10.147.17.5"}]}`,
			[]Member{member(testBox, "10.147.17.5")}, Wanted{}, ""},
		{"first free address", `{"dns":{"servers":["9.9.9.9"]},` + subnet + `]}`,
			[]Member{member(1, "10.147.17.1"), member(2, "10.147.17.2")}, Wanted{},
			"+ let this box into the network|+ address 10.147.17.3 for this box|" +
				"+ route 0.0.0.0/0 via 10.147.17.3"},
		{"a next hop of another route is not taken", `{"dns":{"servers":["9.9.9.9"]},` + subnet +
			`,{"target":"192.168.0.0/16","via":"10.147.17.1"}]}`,
			[]Member{member(testBox)}, Wanted{},
			"+ address 10.147.17.2 for this box|+ route 0.0.0.0/0 via 10.147.17.2"},
		{"stale default route of the box itself", `{"dns":{"servers":["9.9.9.9"]},` + subnet +
			`,{"target":"0.0.0.0/0","via":"10.147.17.9"}]}`,
			[]Member{member(testBox, "10.147.17.5")}, Wanted{},
			"- route 0.0.0.0/0 via 10.147.17.9|+ route 0.0.0.0/0 via 10.147.17.5"},
		{"halves that lead to nobody", `{"dns":{"servers":["9.9.9.9"]},` + subnet +
			`,{"target":"0.0.0.0/0","via":"10.147.17.5"},{"target":"0.0.0.0/1","via":"10.147.17.9"}` +
			`,{"target":"128.0.0.0/1","via":"10.147.17.5"}]}`,
			[]Member{member(testBox, "10.147.17.5")}, Wanted{},
			"- route 0.0.0.0/1 via 10.147.17.9"},
		{"IPv6 by 6PLANE", `{"dns":{"servers":["9.9.9.9"]},"v6AssignMode":{"6plane":true},` +
			subnet + `,{"target":"0.0.0.0/0","via":"10.147.17.5"}]}`,
			[]Member{member(testBox, "10.147.17.5")}, Wanted{IPv6: true},
			"+ route ::/0 via " + zerotier.SixPlane(testNetwork, testBox).Addr().String()},
		{"IPv6 by hand", `{"dns":{"servers":["9.9.9.9"]},"v6AssignMode":{"zt":true},` + subnet +
			`,{"target":"fd99::/64"},{"target":"0.0.0.0/0","via":"10.147.17.5"}]}`,
			[]Member{member(testBox, "10.147.17.5", "fd99::7")}, Wanted{IPv6: true},
			"+ route ::/0 via fd99::7"},
		{"a public prefix", `{"dns":{"servers":["9.9.9.9"]},` + subnet +
			`,{"target":"0.0.0.0/0","via":"10.147.17.5"}]}`,
			[]Member{member(testBox, "10.147.17.5")},
			Wanted{IPv6: true, Prefix6: netip.MustParsePrefix("2001:db8:1::/64")},
			"+ route 2001:db8:1::/64|+ addresses for members: 2001:db8:1::100 to " +
				"2001:db8:1::ffff|+ address 2001:db8:1::1 for this box|" +
				"+ IPv6 addresses for members (from the pools)|+ route ::/0 via 2001:db8:1::1"},
		{"nothing yet", `{"dns":{"servers":["9.9.9.9"]},"routes":[]}`, nil,
			Wanted{Avoid: []netip.Prefix{netip.MustParsePrefix("10.148.0.0/16")}},
			"+ let this box into the network|+ route 10.149.2.0/24|" +
				"+ addresses for members: 10.149.2.10 to 10.149.2.254|" +
				"+ IPv4 addresses for members|+ address 10.149.2.1 for this box|" +
				"+ route 0.0.0.0/0 via 10.149.2.1"},
	}
	for _, c := range cases {
		c.want.Self = testBox
		n := network(t, c.network)
		p, err := PlanSetup(n, c.members, c.want)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := slices.DeleteFunc(p.Lines(),
			func(s string) bool { return strings.HasPrefix(s, " ") })
		if strings.Join(got, "|") != c.lines {
			t.Errorf("%s: plan\n%s\nwant\n%s", c.name, strings.Join(got, "\n"),
				strings.ReplaceAll(c.lines, "|", "\n"))
		}
		// Carried out, nothing is left to do.
		after := slices.DeleteFunc(slices.Clone(c.members),
			func(m Member) bool { return m.Address == testBox })
		again, err := PlanSetup(p.networkAfter(), append(after, p.boxAfter()), c.want)
		if err != nil || !again.Empty() {
			t.Errorf("%s: a second plan holds %v (%v)", c.name, again.Lines(), err)
		}
	}
}

// What several runs of setup added, teardown takes back: the modes of IPv6, which the second run
// changed again, and those alone.
func TestTeardownOfTwoSetups(t *testing.T) {
	records := &Records{path: filepath.Join(t.TempDir(), recordName)}
	n := network(t, `{"dns":{"servers":["9.9.9.9"]},"v4AssignMode":{"zt":true},`+
		`"routes":[{"target":"10.147.17.0/24"},{"target":"0.0.0.0/0","via":"10.147.17.5"}]}`)
	before, members := n, []Member{member(testBox, "10.147.17.5")}
	for _, want := range []Wanted{{Self: testBox, IPv6: true}, {Self: testBox, IPv6: true,
		Prefix6: netip.MustParsePrefix("2001:db8:1::/64")}} {
		p, err := PlanSetup(n, members, want)
		if err == nil {
			err = records.Note(OnBox, p, false)
		}
		if err != nil {
			t.Fatal(err)
		}
		n, members = p.networkAfter(), []Member{p.boxAfter()}
	}
	if n.V6 != (V6Modes{Pools: true, RFC4193: true}) {
		t.Fatalf("set up: %+v", n.V6)
	}
	rec, _ := records.Of(testNetwork)
	for _, person := range []V6Modes{{}, {SixPlane: true}} {
		n.V6.SixPlane = person.SixPlane // switched on since
		after := PlanTeardown(n, members, rec).networkAfter()
		if before.V6 = person; !sameSettings(before, after) {
			t.Errorf("taken back: %+v, before: %+v", after, before)
		}
		if again := PlanTeardown(after, members, rec); len(again.Changes) != 1 { // the address
			t.Errorf("still to take back: %v", again.Lines())
		}
	}
}

func TestPlanSetupOfAFullOrPublicNetwork(t *testing.T) {
	full := network(t, `{"routes":[{"target":"10.147.17.0/30"}]}`)
	_, err := PlanSetup(full, []Member{member(1, "10.147.17.1"), member(2, "10.147.17.2")},
		Wanted{Self: testBox})
	if !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "10.147.17.0/30") {
		t.Errorf("full: %v", err)
	}
	shared := network(t, `{"routes":[{"target":"10.147.17.0/24"}]}`)
	_, err = PlanSetup(shared, []Member{member(testBox, "10.147.17.1"), member(1, "10.147.17.1")},
		Wanted{Self: testBox})
	if !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "0000000001") {
		t.Errorf("shared: %v", err)
	}
	public := network(t, `{"private":false,"routes":[{"target":"10.147.17.0/24"}]}`)
	p, err := PlanSetup(public, nil, Wanted{Self: testBox})
	if err != nil || len(p.Notes) == 0 || !strings.Contains(p.Notes[0], "public") {
		t.Errorf("public: %v (%v)", p.Notes, err)
	}
}

// What cannot be read must not be lost when a list is written back.
func TestUnreadableSettingsAreRefused(t *testing.T) {
	for _, text := range []string{`{"routes":[{"target":"everything"}]}`,
		`{"routes":[{"target":"10.0.0.0/8","via":"router"}]}`, `{"routes":[7]}`,
		`{"ipAssignmentPools":[{"ipRangeStart":"10.0.0.1"}]}`, `{"dns":{"servers":["box"]}}`} {
		var s settings
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if err := s.decode(&Network{}); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

// A field that this program does not know stays in the entries that it writes back.
func TestUnknownFieldsOfRoutesStay(t *testing.T) {
	before := network(t, `{"routes":[{"target":"10.1.0.0/16","via":null,"metric":7}]}`)
	after := before.clone()
	after.Routes = append(after.Routes, Route{Target: netip.MustParsePrefix("10.2.0.0/16")})
	s, err := changed(before, after)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	const want = `{"routes":[{"target":"10.1.0.0/16","via":null,"metric":7},` +
		`{"target":"10.2.0.0/16","via":null}]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, want %s (%v)", text, want, err)
	}
}

func TestPause(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		key, value string
		want       time.Duration
	}{
		{"", "", rateWait}, {"Retry-After", "7", 7 * time.Second},
		{"Retry-After", "Fri, 02 Jan 2026 03:04:15 GMT", 10 * time.Second},
		{"Retry-After", "86400", 24 * time.Hour}, {"Retry-After", "soon", rateWait},
		{"Retry-After", "99999999999999999999", 100 * 365 * 24 * time.Hour},
		{"Retry-After", "-5", rateWait}, {"Retry-After", "NaN", rateWait},
		{"Retry-After", "Inf", 100 * 365 * 24 * time.Hour}, {"Retry-After", "0", 50 * time.Millisecond},
		{"X-Ratelimit-Reset", "9223372036854775807", 100 * 365 * 24 * time.Hour},
		{"X-Ratelimit-Reset", "2026-01-02T03:04:08Z", 3 * time.Second},
		{"X-Ratelimit-Reset", "1767323047", 2 * time.Second},
		{"X-Ratelimit-Reset", "1", 50 * time.Millisecond},
	} {
		h := http.Header{}
		if c.key != "" {
			h.Set(c.key, c.value)
		}
		if got := pause(h, now); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.key, c.value, got, c.want)
		}
	}
}

// A date is counted by the clock of the controller: that of the box may be years behind.
func TestPauseByTheServersClock(t *testing.T) {
	h := http.Header{"Date": {"Fri, 02 Jan 2026 03:04:05 GMT"},
		"Retry-After": {"Fri, 02 Jan 2026 03:04:15 GMT"}}
	if got := pause(h, time.Unix(0, 0)); got != 10*time.Second {
		t.Errorf("%s, want 10s", got)
	}
}

// Whatever a controller answers: no panic, and what is read can be written back and read again.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"routes":[{"target":"10.1.0.0/16","via":null}],"dns":[],"ipAssignmentPools":[]}`))
	f.Add([]byte(`{"dns":{"domain":null,"servers":["10.1.1.1"]},"v6AssignMode":{"6plane":true}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s settings
		if json.Unmarshal(raw, &s) != nil {
			return
		}
		var n Network
		if s.decode(&n) != nil {
			return
		}
		p, err := PlanSetup(n, nil, Wanted{Self: testBox, IPv6: true})
		if err != nil {
			return
		}
		sent, err := changed(n, p.networkAfter())
		if err == nil {
			_, err = json.Marshal(sent)
		}
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}
