package bridge

import (
	"os"
	"path/filepath"
	"strings"
)

// noticeFile, in the runtime directory, is where those who prepare a box before the daemon runs, as
// the image does at each start, leave what its owner has to know.
const noticeFile = "notice"

// Notice returns what was left there and what to do about it: the lines that begin with "hint: "
// and the others. Both are empty if there is nothing to say.
func Notice(runtimeDir string) (message, remedy string) {
	text, err := os.ReadFile(filepath.Join(runtimeDir, noticeFile))
	if err != nil {
		return "", "" // none, as nearly always
	}
	var say, do []string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if hint, ok := strings.CutPrefix(line, "hint: "); ok {
			do = append(do, hint)
		} else {
			say = append(say, line)
		}
	}
	return strings.Join(say, "\n"), strings.Join(do, "; ")
}
