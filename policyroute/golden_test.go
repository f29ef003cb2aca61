package policyroute_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

var update = flag.Bool("update", false, "write the golden files")

var scenes = map[string]func() policyroute.Intent{
	"uno":      policytest.Uno,
	"duo":      policytest.Duo,
	"dinosaur": policytest.Dinosaur,
	"exit":     policytest.Exit,
}

func compile(t testing.TB, in policyroute.Intent) policyroute.State {
	t.Helper()
	s, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf(
				"%s:%d differs (see all by `go test -update` and `git diff`)\n got: %s\nwant: %s",
				path, i+1, strings.Join(g[min(i, len(g)):min(i+1, len(g))],
					""), strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
}

func TestScenesGolden(t *testing.T) {
	for name, scene := range scenes {
		t.Run(name, func(t *testing.T) { golden(t, name, compile(t, scene()).String()) })
	}
	t.Run("closed", func(t *testing.T) {
		golden(t, "closed", policyroute.Closed([]string{"zt*", "eth1", "zt*"}).String())
	})
}

func TestFailoverGolden(t *testing.T) {
	before := policytest.Uno()
	after := policytest.Uno()
	after.Policies[0].Use = "backup"
	golden(t, "failover", policyroute.Diff(compile(t, before), compile(t, after)).String())
	golden(t, "teardown", policyroute.Diff(compile(t, before), policyroute.State{}).String())
}

func TestManyGolden(t *testing.T) {
	s := compile(t, policytest.Many(1000, 4))
	var b strings.Builder
	count := map[policyroute.Family]int{}
	priorities := map[policyroute.Family]map[int]int{policyroute.V4: {}, policyroute.V6: {}}
	for _, r := range s.Rules {
		count[r.Family]++
		priorities[r.Family][r.Priority]++
	}
	for _, f := range policyroute.Families {
		widest := 0
		for _, n := range priorities[f] {
			widest = max(widest, n)
		}
		fmt.Fprintf(&b, "%s: %d rules at %d priorities, at most %d at one\n", f, count[f],
			len(priorities[f]), widest)
	}
	fmt.Fprintf(&b, "%d routes, %d nft chains, %d maps\n", len(s.Routes), len(s.Nft.Chains),
		len(s.Nft.Maps))
	for _, r := range s.Rules {
		if r.Priority < 15014 {
			fmt.Fprintln(&b, policyroute.AddRule{Rule: r})
		}
	}
	golden(t, "many", b.String())
}

func TestManyIsShallow(t *testing.T) {
	in := policytest.Many(1000, 4)
	s := compile(t, in)
	worst, sum, n := 0, 0, 0
	for _, p := range in.Policies {
		for _, src := range p.From {
			c := evaluations(s, policytest.Ingress0, src)
			worst, sum, n = max(worst, c), sum+c, n+1
		}
	}
	if outside := evaluations(s, policytest.WAN, policytest.Prefixes("8.8.8.8")[0]); outside > 14 {
		t.Errorf("packets of others are compared with %d rules", outside)
	}
	t.Logf("comparisons: worst %d, mean %d", worst, sum/n)
	if worst > 96 || sum/n > 48 {
		t.Errorf("comparisons: worst %d, mean %d", worst, sum/n)
	}
}

// evaluations counts the IPv4 rules that a packet to the Internet is compared with.
func evaluations(s policyroute.State, iif string, src interface{ String() string }) int {
	from := policytest.Prefixes(src.String())[0].Addr()
	n, skip := 0, 0
	for _, r := range s.Rules {
		if r.Family != policyroute.V4 || r.Priority < skip {
			continue
		}
		n++
		matches := (r.IIF == "" || r.IIF == iif) && (!r.From.IsValid() || r.From.Contains(from)) &&
			!r.To.IsValid() && r.Mark == 0
		switch {
		case !matches || r.Table == policyroute.TableMembers:
		case r.Action == policyroute.Goto:
			skip = r.Target
		default:
			return n
		}
	}
	return n
}

// One member more must not move the others, wherever it is and however they are spread.
func TestOneMemberMoreChangesFewRules(t *testing.T) {
	scattered := policytest.Many(1000, 4)
	dense := policytest.Many(1000, 4)
	for i := range dense.Policies[:1000] {
		dense.Policies[i].From = nil
		for j := range 4 {
			at := 4*i + j + 1
			dense.Policies[i].From = append(dense.Policies[i].From,
				policytest.Prefixes(fmt.Sprintf("10.144.%d.%d", at/256, at%256))...)
		}
	}
	for name, before := range map[string]policyroute.Intent{"scattered": scattered,
		"dense": dense} {
		t.Run(name, func(t *testing.T) {
			have := compile(t, before)
			worst := 0
			for i := range 40 {
				after := before
				after.Policies = slices.Clone(before.Policies)
				p := &after.Policies[i*17]
				member := fmt.Sprintf("10.%d.%d.%d", 144+i%16, i*13%256, i*101%256)
				p.From = append(slices.Clone(p.From), policytest.Prefixes(member)...)
				changed := 0
				for _, op := range policyroute.Diff(have, compile(t, after)).Ops {
					switch op.(type) {
					case policyroute.AddRule, policyroute.DelRule:
						changed++
					case policyroute.ReplaceNft:
						t.Errorf("%s more replaces the whole filter", member)
					}
				}
				if worst = max(worst, changed); changed > 200 {
					t.Errorf("%s more changes %d rules", member, changed)
				}
			}
			t.Logf("at most %d rules change", worst)
		})
	}
}

func BenchmarkCompileMany(b *testing.B) {
	in := policytest.Many(1000, 4)
	for b.Loop() {
		compile(b, in)
	}
}

func BenchmarkDiffUnchanged(b *testing.B) {
	s, again := compile(b, policytest.Many(1000, 4)), compile(b, policytest.Many(1000, 4))
	for b.Loop() {
		if d := policyroute.Diff(s, again); !d.Empty() {
			b.Fatal(d)
		}
	}
}

func BenchmarkDiffFromNothing(b *testing.B) {
	s := compile(b, policytest.Many(1000, 4))
	for b.Loop() {
		policyroute.Diff(policyroute.State{}, s)
	}
}
