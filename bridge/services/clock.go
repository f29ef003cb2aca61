package services

import (
	"fmt"
	"os"
	"time"

	"ztbridge/bridge/clock"
	"ztbridge/bridge/health"
)

// clockProblems tells of a clock that shows a time before this program or one of the files was
// written. It looks at the files only.
func clockProblems(now time.Time, files ...string) []health.Problem {
	if self, err := os.Executable(); err == nil {
		files = append(files[:len(files):len(files)], self)
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil || now.Add(clock.Slack).After(info.ModTime()) {
			continue
		}
		const minute = "2006-01-02 15:04"
		return []health.Problem{{Code: health.ClockWrong,
			Message: fmt.Sprintf("this box's clock says %s, but %s was written on %s: "+
				"certificates look wrong, and rules with times follow the clock",
				now.UTC().Format(minute), path, info.ModTime().UTC().Format(time.DateOnly)),
			Remedy:  "set the clock; if it is right, the file's date is wrong: touch " + path,
			Command: "timedatectl set-ntp true"}}
	}
	return nil
}

// Problems returns what is wrong beside what Fill tells.
func (d *Set) Problems() []health.Problem {
	disks := d.disk.Problems()
	if len(disks) == 0 { // it may be the same disk
		disks = d.runDisk.Problems()
	}
	return append(clockProblems(time.Now(), d.current.Load().file), disks...)
}
