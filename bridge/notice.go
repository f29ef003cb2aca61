package bridge

import (
	"os"
	"path/filepath"
	"strings"

	"ztbridge/bridge/status"
)

// noticeFile, in the runtime directory, is where those who prepare a box before the daemon runs, as
// the image does at each start, leave what its owner has to know.
const noticeFile = "notice"

// ReadNotice reads the notice: lines that begin with "hint: " say what to do. One that cannot be
// read is empty.
func ReadNotice(runtimeDir string) status.Notice {
	text, err := os.ReadFile(filepath.Join(runtimeDir, noticeFile))
	if err != nil {
		return status.Notice{} // none, as nearly always
	}
	var say, do []string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if hint, ok := strings.CutPrefix(line, "hint: "); ok {
			do = append(do, hint)
		} else {
			say = append(say, line)
		}
	}
	return status.Notice{Message: strings.Join(say, "\n"), Remedy: strings.Join(do, "; ")}
}
