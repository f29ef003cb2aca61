#!/bin/bash
# Runs all tests: scripts/test.sh [FLAG…], flags as of go test. First what only computes, with the race detector.
# Then, one package at a time, what builds laboratories of network namespaces and looks at the clock; as root only,
# which an ordinary user becomes by sudo for just these.
set -euo pipefail
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export GOTOOLCHAIN=auto
# Versions are told by the Makefile, and git may refuse to speak of another user's checkout.
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"

race=(-race)
if ! command -v gcc >/dev/null; then
	echo "test: WARNING: without the race detector: it needs gcc" >&2
	race=()
fi

# The packages whose tests make namespaces, or otherwise need root.
mapfile -t lab < <(grep -rlE --include='*_test.go' '"ztbridge/(policyroute/netlab|bridge/lab)|uid\(\) [!=]= 0|NewNamespace\(' . |
	xargs -n 1 dirname | sort -u)
# One of them measures gaps and throughput of the program itself.
mapfile -t timed < <(printf '%s\n' "${lab[@]}" | grep -x ./bridge/e2e)
mapfile -t lab < <(printf '%s\n' "${lab[@]}" | grep -vx ./bridge/e2e)
mapfile -t pure < <(go list ./... | sed 's/^ztbridge/./' | grep -vxF "$(printf '%s\n' "${lab[@]}" "${timed[@]}")")

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	if command -v sudo >/dev/null && sudo -v; then
		# go itself stays the user's: only the compiled tests run as root.
		as_root=(-exec "sudo env PATH=$PATH GOFLAGS=-buildvcs=false GOTOOLCHAIN=auto GOPROXY=$(go env GOPROXY) GOMODCACHE=$(go env GOMODCACHE)")
	else
		echo "test: WARNING: neither root nor sudo: what needs the kernel is skipped" >&2
	fi
fi

run() { go test -json -count=1 -timeout 60m "$@"; }
{
	status=0
	run "${race[@]}" "$@" "${pure[@]}" || status=1
	run -p 1 "${race[@]}" "${as_root[@]}" "$@" "${lab[@]}" || status=1
	run -p 1 "${as_root[@]}" "$@" "${timed[@]}" || status=1
	exit $status
} | go run ./scripts/testreport
