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
			t.Fatalf("%s:%d differs (see all by `go test -update` and `git diff`)\n got: %s\nwant: %s",
				path, i+1, strings.Join(g[min(i, len(g)):min(i+1, len(g))], ""), strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
}

func TestScenesGolden(t *testing.T) {
	for name, scene := range scenes {
		t.Run(name, func(t *testing.T) { golden(t, name, compile(t, scene()).String()) })
	}
	t.Run("closed", func(t *testing.T) { golden(t, "closed", policyroute.Closed([]string{"zt*", "eth1", "zt*"}).String()) })
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
		fmt.Fprintf(&b, "%s: %d rules at %d priorities, at most %d at one\n", f, count[f], len(priorities[f]), widest)
	}
	fmt.Fprintf(&b, "%d routes, %d nft chains, %d maps\n", len(s.Routes), len(s.Nft.Chains), len(s.Nft.Maps))
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
	if outside := evaluations(s, policytest.WAN, policytest.Prefixes("8.8.8.8")[0]); outside > 10 {
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
		matches := (r.IIF == "" || r.IIF == iif) && (!r.From.IsValid() || r.From.Contains(from)) && !r.To.IsValid() && r.Mark == 0
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

func TestOneMemberMoreChangesFewRules(t *testing.T) {
	before := policytest.Many(1000, 4)
	worst := 0
	for i := range 20 {
		after := policytest.Many(1000, 4)
		p := &after.Policies[i*37]
		p.From = append(slices.Clone(p.From), policytest.Prefixes(fmt.Sprintf("10.%d.%d.%d", 144+i%16, i*13%256, i*101%256))...)
		d := policyroute.Diff(compile(t, before), compile(t, after))
		rules := 0
		for _, op := range d.Ops {
			switch op.(type) {
			case policyroute.AddRule, policyroute.DelRule:
				rules++
			}
		}
		worst = max(worst, rules)
	}
	t.Logf("at most %d rules change", worst)
	if worst > 200 {
		t.Errorf("one member more changes %d rules", worst)
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
