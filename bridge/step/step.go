package step

import "time"

// Until returns how long it is to the next whole multiple of step, at most step.
func Until(now time.Time, step time.Duration) time.Duration {
	return now.Truncate(step).Add(step).Sub(now.Round(0))
}
