#!/bin/bash
# Looks for mistakes without running anything of ours. What Go can fetch is fetched, at a pinned version; what else
# is not installed is skipped, and it says so.
# shellcheck disable=SC2317 # the functions are called by their names
set -euo pipefail
PATH=$PATH:/usr/local/go/bin
export GOTOOLCHAIN=auto GOFLAGS="${GOFLAGS:-} -buildvcs=false"
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
golangci=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
shellcheck=shellcheck
status=0

# check NAME COMMAND…: the command must succeed.
check() {
	echo "check: $1"
	shift
	"$@" || status=1
}

# files PATTERN…: what is in the checkout or about to be.
files() {
	git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do
		if [ -e "$f" ]; then echo "$f"; fi
	done
}

# nothing TEXT: there must be no lines on standard input; TEXT says what they would be.
nothing() {
	found=$(cat)
	[ -n "$found" ] || return 0
	printf 'check: error: %s:\n%s\n' "$1" "$found" >&2
	return 1
}

formatted() { files '*.go' | xargs gofmt -l | nothing 'not formatted, see gofmt'; }
short() {
	files '*.go' | grep -v _test.go | xargs wc -l | awk '$2 != "total" && $1 > 400' | nothing 'files of more than 400 lines'
}
top_level() {
	files . | cut -d/ -f1 | sort -u | awk '!/^(\.ci|\.github|\.gitignore|\.golangci\.yml|LICENSE|Makefile|README\.md|bridge|cmd|configs|go\.mod|go\.sum|image|policyroute|scripts)$/' |
		nothing 'nothing else belongs at the top'
}
# What is left to do is no comment, and what holds on one machine only is no code.
no_remainders() {
	{ git grep -nwE 'TODO|FIXME|HACK' -- ':!scripts/check.sh' ':!LICENSE' || true
	  git grep -nE '/home/[a-z]|/Users/[A-Z]' -- '*.go' '*.sh' Makefile ':!scripts/check.sh' || true; } |
		nothing 'remainders'
}
scripts() { files '*.sh' .ci/run 'image/build/deb/files/p*' | xargs "$shellcheck"; }

check format formatted
check 'length of files' short
check 'top level' top_level
check remainders no_remainders
check 'go vet' go vet ./...
check 'build for armhf' env GOARCH=arm GOARM=6 go build ./...
check staticcheck go run "$staticcheck" ./...
check golangci-lint go run "$golangci" run ./...
if command -v $shellcheck >/dev/null; then
	check shellcheck scripts
else
	echo 'check: SKIPPED: shellcheck is not installed' >&2
fi
exit $status
