#!/bin/sh
# Runs every fuzz target of the module for a while each: scripts/fuzz.sh [TIME]
set -eu
PATH=$PATH:/usr/local/go/bin
time=${1:-20s}
status=0
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		# Minimising an input that merely reaches new code would eat the whole time.
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package" || status=1
	done
done
exit $status
