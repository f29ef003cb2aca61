package status

import (
	"fmt"
	"time"

	"ztbridge/bridge/health"
	"ztbridge/bridge/reclaim"
)

// idleProblem compares one of Oracle's machines with the limits below which Oracle takes it back.
// It is no fault of the box: paid accounts keep idle machines, and the box cannot see which kind
// this is.
func idleProblem(u reclaim.Usage, arch string) health.Problem {
	measured := "nothing is measured yet"
	if u.Over > 0 {
		measured = fmt.Sprintf("in the last %s: CPU %.1f %%, network %.1f %%, memory %.0f %%",
			lasted(u.Over), u.CPU, u.Network, u.Memory)
	}
	verdict := ""
	if u.Over >= reclaim.Window {
		verdict = "; it is not idle by this measure"
		if u.Idle(arch) {
			verdict = "; it is idle by this measure"
		}
	}
	return health.Problem{Code: health.OracleIdle,
		Message: fmt.Sprintf(
			"Oracle takes back Always Free machines that for 7 days have all of these below %d "+
				"%%: CPU (95th percentile), network%s; %s%s",
			reclaim.Limit, memoryCounts(arch), measured, verdict),
		Remedy: "if it is an Always Free machine: Oracle keeps idle ones of pay-as-you-go " +
			"accounts, at " +
			"no cost within the free limits"}
}

func memoryCounts(arch string) string {
	if arch == "arm64" {
		return ", memory"
	}
	return ""
}

func lasted(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
	return fmt.Sprintf("%.1f hours", d.Hours())
}
