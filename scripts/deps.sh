#!/bin/sh
# Installs what building, the demo and the tests need and what is missing, on Debian 12 and 13, and the packages
# that are named beside: scripts/deps.sh [PACKAGE[@RELEASE]…], @13 for one that Debian has from 13 on. It asks
# Debian's mirrors alone; the Go release that go.mod names is then fetched by go itself, as a module.
#
# Without root's rights it asks for them by sudo. Where that fails it says what is missing, and fails only if
# nothing could be built.
set -eu

packages="ca-certificates git make gcc libc6-dev
	openvpn nftables iptables iproute2 iputils-ping procps conntrack"

# The first Go that can fetch the one that go.mod names.
go_least=1.21

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

go_suffices() {
	version=$(PATH="$PATH:/usr/local/go/bin" GOTOOLCHAIN=local go version 2>/dev/null | sed -n 's/^go version go\([0-9.]*\).*/\1/p')
	[ -n "$version" ] && dpkg --compare-versions "$version" ge "$go_least"
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

# Debian 12 has Go 1.19. Its backports are asked for this one package, and the machine's list of sources stays as
# it is.
go_from_backports() {
	suite=$VERSION_CODENAME-backports
	# shellcheck disable=SC2016 # apt's own variable
	mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $VERSION_CODENAME" "Created-By: Packages" | head -n 1)
	sources=$(mktemp -d)
	trap 'rm -rf "$sources"' EXIT
	chmod 755 "$sources" # apt reads it as a user of its own
	cp /etc/apt/sources.list.d/* "$sources" 2>/dev/null || true
	echo "deb $mirror $suite main" >"$sources/zz-backports.list"
	apt -o Dir::Etc::SourceParts="$sources" update
	apt -o Dir::Etc::SourceParts="$sources" install -y --no-install-recommends -t "$suite" golang-go
}

install_go() {
	candidate=$(apt-cache policy golang-go | sed -n 's/^ *Candidate: //p')
	if dpkg --compare-versions "${candidate:-0}" ge "2:$go_least"; then
		apt install -y --no-install-recommends golang-go
	else
		go_from_backports
	fi
}

if ! command -v apt-get >/dev/null; then
	echo "deps: this is no Debian: install what corresponds to: go $go_least or later," "$packages $*" >&2
	exit 0
fi

# shellcheck source=/dev/null
. /etc/os-release
for package in "$@"; do
	case $package in
	*@*) [ "${VERSION_ID:-99}" -lt "${package#*@}" ] || packages="$packages ${package%@*}" ;; # testing has no number
	*) packages="$packages $package" ;;
	esac
done

missing=
for package in $packages; do
	installed "$package" || missing="$missing $package"
done
go_suffices || missing="$missing golang-go"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "deps: missing:$missing" >&2
	if command -v sudo >/dev/null && sudo "$0" "$@"; then exit 0; fi
	if go_suffices; then
		echo "deps: warning: going on without them: what needs them will be skipped" >&2
		exit 0
	fi
	echo "deps: error: there is no Go to build with" >&2
	echo "deps: hint: run it as root: sudo make deps" >&2
	exit 1
fi

echo "deps: installing:$missing" >&2
apt update
# shellcheck disable=SC2046 # a list of words
set -- $(echo "$missing" | sed 's/ golang-go//')
[ $# -eq 0 ] || apt install -y --no-install-recommends "$@"
go_suffices || install_go
