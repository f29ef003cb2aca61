#!/bin/sh
# Looks for mistakes without running anything of ours. Checkers that are not installed and that Go can fetch are
# fetched; the others are skipped, and it says so.
set -eu
PATH=$PATH:/usr/local/go/bin
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
status=0

have() {
	command -v "$1" >/dev/null && return
	echo "check: $1 is not installed: skipped" >&2
	return 1
}

# shellcheck disable=SC2046 # a list of names without blanks
unformatted=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$unformatted" ]; then
	echo "check: error: not formatted: $unformatted" >&2
	status=1
fi
go vet ./... || status=1
go run "$staticcheck" ./... || status=1
if have golangci-lint; then golangci-lint run ./... || status=1; fi
# shellcheck disable=SC2046
if have shellcheck; then shellcheck $(git ls-files '*.sh') || status=1; fi
exit $status
