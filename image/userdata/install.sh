#!/bin/sh
# Installs ztbridge at the first start of a stock cloud image. What was downloaded is used only when its sum is the one given.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { # address sha256 file
	curl -fsSL --retry 10 --retry-connrefused --retry-delay 3 -o "$work/$3" "$1"
	echo "$2  $work/$3" | sha256sum -c --quiet -
}

install_debs() {
	# The configuration written before the package came is the one that stays.
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o Dpkg::Options::=--force-confold "$@"
}
