#!/bin/bash
# Runs tests, and fails if the machine is not afterwards as it was: scripts/test.sh [--long [PART/PARTS]] [FLAG…],
# flags as of go test. Laboratories of network namespaces need root, which an ordinary user becomes by sudo for
# just these. With --long only the tests that take minutes each are run, or every PARTS-th of them.
set -euo pipefail
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export GOTOOLCHAIN=auto
# Versions are told by the Makefile, and git may refuse to speak of another user's checkout.
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"

# This script runs itself below the command that watches the machine, and then writes events alone.
if [ -z "${ZTBRIDGE_TEST_EVENTS:-}" ]; then
	export ZTBRIDGE_TEST_EVENTS=1
	go run ./scripts/unchanged -json "$0" "$@" | go run ./scripts/testreport
	exit
fi
# The program warns of variables of this prefix that it does not know.
unset ZTBRIDGE_TEST_EVENTS
# The race detector lets each program wait for a second as it ends, and scripts start hundreds of them.
export GORACE=atexit_sleep_ms=0

race=(-race)
if ! command -v gcc >/dev/null; then
	echo "test: WARNING: without the race detector: it needs gcc" >&2
	race=()
fi
long=
[ "${1:-}" != --long ] || long=1
as_root=()
if [ "$(id -u)" -ne 0 ]; then
	if command -v sudo >/dev/null && sudo -v; then
		# go itself stays the user's: only the compiled tests run as root.
		as_root=(-exec "sudo env PATH=$PATH ZTBRIDGE_LONG=$long GORACE=$GORACE GOFLAGS=-buildvcs=false GOTOOLCHAIN=auto GOPROXY=$(go env GOPROXY) GOMODCACHE=$(go env GOMODCACHE)")
	else
		echo "test: WARNING: neither root nor sudo: what needs the kernel is skipped" >&2
	fi
fi

# run FLAG… PACKAGE…; `make check` has vetted.
run() { go test -json -count=1 -vet=off -timeout 60m "$@"; }

if [ -n "$long" ]; then
	shift
	part=1/1
	case "${1:-}" in [0-9]*/[0-9]*) part=$1 && shift ;; esac
	export ZTBRIDGE_LONG=1
	declaration='^func TestLong[A-Za-z0-9]*\(t \*testing\.T\)'
	mapfile -t packages < <(grep -rlE --include='*_test.go' "$declaration" . | xargs -n 1 dirname | sort -u)
	names=$(grep -rhoE --include='*_test.go' "$declaration" . | sed -E 's/func ([A-Za-z0-9]*).*/\1/' | sort |
		awk -v part="${part%/*}" -v parts="${part#*/}" 'NR % parts == part % parts' | paste -sd '|')
	run -p 1 -run "^($names)\$" "${as_root[@]}" "$@" "${packages[@]}"
	exit
fi

# The packages whose tests make namespaces, or otherwise need root.
mapfile -t lab < <(grep -rlE --include='*_test.go' '"ztbridge/(policyroute/netlab|bridge/lab)|uid\(\) [!=]= 0|NewNamespace\(' . |
	xargs -n 1 dirname | sort -u)
# What tests the whole program measures, too, and the race detector would slow its streams down.
whole=./bridge/e2e
# These compute for long, and start no goroutine in which the race detector could find anything.
single=(./policyroute ./policyroute/policytest ./image/build/deb)
# The longest come first, so that none of them is left alone at the end.
longest=(./policyroute/kernel ./bridge/openvpn/client ./bridge/zerotier ./bridge/openvpn/endpoint)
mapfile -t lab < <(printf '%s\n' "${longest[@]}" &&
	printf '%s\n' "${lab[@]}" | grep -vxF "$(printf '%s\n' "$whole" "${single[@]}" "${longest[@]}")")
mapfile -t pure < <(go list ./... | sed 's/^ztbridge/./' |
	grep -vxF "$(printf '%s\n' "${lab[@]}" "${single[@]}" "$whole")")
# These look at the clock, and run after all others. They wait more than they compute: two of them
# disturb each other as little as one.
timed='Gap|RefusesAtOnce|DoesNotFlap|FailApart'

# Laboratories wait more than they compute: those of the whole program, those of one more package and the
# compiler keep two processors busy. The events of one program at a time are told.
status=0
events=$(mktemp)
trap 'rm -f "$events"' EXIT
run -parallel 4 -skip "$timed" "${as_root[@]}" "$@" "$whole" >"$events" &
others=$!
run -p 2 "${as_root[@]}" "$@" "${single[@]}" || status=1
if [ ${#as_root[@]} -eq 0 ]; then
	run -p 2 -parallel 4 "${race[@]}" "$@" "${lab[@]}" "${pure[@]}" || status=1
else
	run -p 2 "${race[@]}" "$@" "${pure[@]}" || status=1
	run -p 2 -parallel 4 "${race[@]}" "${as_root[@]}" "$@" "${lab[@]}" || status=1
fi
wait "$others" || status=1
cat "$events"
run -parallel 2 -run "$timed" "${as_root[@]}" "$@" "$whole" || status=1
exit $status
