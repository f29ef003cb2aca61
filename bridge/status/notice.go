package status

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ztbridge/bridge/health"
)

// noticeFile is written into the runtime directory by programs that prepare the box before the
// daemon runs, as the image does at each start.
const noticeFile = "notice"

// Notice is a message of the programs that prepared the box, with its remedy. Both are empty if
// there is none.
type Notice struct{ Message, Remedy string }

// ReadNotice reads the notice of a runtime directory; lines that begin with "hint: " are its
// remedy. A notice that cannot be read is empty.
func ReadNotice(runtimeDir string) Notice {
	text, err := os.ReadFile(filepath.Join(runtimeDir, noticeFile))
	if err != nil {
		return Notice{} // none, as nearly always
	}
	var say, do []string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if hint, ok := strings.CutPrefix(line, "hint: "); ok {
			do = append(do, hint)
		} else {
			say = append(say, line)
		}
	}
	return Notice{Message: strings.Join(say, "\n"), Remedy: strings.Join(do, "; ")}
}

// updatesFile, in the runtime directory, holds as JSON the problems with the image's own updates.
const updatesFile = "updates.json"

// ReadUpdates reads the problems of the image's updater. A file that cannot be read has none, and
// codes of other versions are left out.
func ReadUpdates(runtimeDir string) []health.Problem {
	text, err := os.ReadFile(filepath.Join(runtimeDir, updatesFile))
	var all []health.Problem
	if err != nil || json.Unmarshal(text, &all) != nil {
		return nil // none, as nearly always
	}
	return slices.DeleteFunc(all, func(p health.Problem) bool {
		_, known := health.Lookup(p.Code)
		return !known
	})
}
