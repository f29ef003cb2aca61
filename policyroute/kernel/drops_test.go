package kernel

import (
	"net"
	"testing"

	"ztbridge/policyroute"
)

// TestDropsAreCounted for each layer, over replacements of the table, and reading the rules back
// gives what was written.
func TestDropsAreCounted(t *testing.T) {
	inNamespace(t, func() {
		sh(t, "ip link set lo up")
		k := open(t, t.TempDir()+"/record")
		defer k.Close()
		layer := func(hook string, port uint16) policyroute.NftChain {
			return policyroute.NftChain{Name: hook,
				Hook: &policyroute.Hook{Type: "filter", Hook: hook}, Rules: []policyroute.NftRule{
					{Proto: "udp", DstPorts: []uint16{port},
						Verdict: policyroute.NftVerdict{Kind: "goto", Chain: "refuse_" + hook}}}}
		}
		refuse := func(hook string) policyroute.NftChain {
			return policyroute.NftChain{Name: "refuse_" + hook, Rules: []policyroute.NftRule{
				{Verdict: policyroute.NftVerdict{Kind: "drop"}}}}
		}
		table := policyroute.Ruleset{Chains: []policyroute.NftChain{refuse("input"),
			refuse("output"), layer("input", 9), layer("output", 10)}}
		send := func(port string, times int) {
			conn, err := net.Dial("udp", "127.0.0.1:"+port)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for range times {
				_, _ = conn.Write(make([]byte, 72)) // what output drops is an error
			}
		}
		for round := uint64(1); round <= 3; round++ {
			if err := k.replaceNft(table); err != nil {
				t.Error(err)
				return
			}
			compareNft(t, k.nft, table)
			send("9", 3)
			send("10", 2)
			got := k.Dropped()
			if got["input"] != (Drops{3 * round, 300 * round}) ||
				got["output"] != (Drops{2 * round, 200 * round}) || len(got) != 2 {
				t.Errorf("round %d: %+v", round, got)
			}
		}
		if err := k.replaceNft(policyroute.Ruleset{}); err != nil {
			t.Error(err)
		}
		if got := k.Dropped(); got["input"].Packets != 9 {
			t.Errorf("without a table: %+v", got)
		}
	})
}
