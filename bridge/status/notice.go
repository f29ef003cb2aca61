package status

import (
	"os"
	"path/filepath"
	"strings"
)

// noticeFile is written into the runtime directory by programs that prepare the box before the
// daemon runs, as the image does at each start.
const noticeFile = "notice"

// Notice is a message of the programs that prepared the box, with its remedy. Both are empty if
// there is none.
type Notice struct{ Message, Remedy string }

// ReadNotice reads the notice of a runtime directory; lines that begin with "hint: " are its remedy.
// A notice that cannot be read is empty.
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
