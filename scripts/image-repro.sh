#!/bin/sh
# Builds an image twice, each time with a cache of its own but for the downloaded packages, and compares every file:
# scripts/image-repro.sh [TARGET], as root.
set -eu

PATH=$PATH:/usr/local/go/bin
cd "$(dirname "$0")/.."
target=${1:-cloud-amd64}
cache=${ZTBRIDGE_IMAGE_CACHE:-/var/cache/ztbridge-image}
lock=${ZTBRIDGE_IMAGE_LOCK:-image/build/lock/$target.lock}
mkdir -p "$cache/debs"
work=$(mktemp -d "$cache/repro.XXXXXX")
trap 'rm -rf "$work"' EXIT

go build -o "$work/ztbridge-image" ./cmd/ztbridge-image
for run in first second; do
	mkdir -p "$work/$run/cache" "$work/$run/out"
	ln -s "$cache/debs" "$work/$run/cache/debs"
	"$work/ztbridge-image" build --target "$target" --lock "$lock" --without-zerotier --cache "$work/$run/cache" -o "$work/$run/out/$target"
done

for file in "$work"/first/out/*; do
	cmp "$file" "$work/second/out/${file##*/}"
	echo "repro: ${file##*/}: both builds $(sha256sum <"$file" | cut -c 1-16)…, $(stat -c %s "$file") bytes"
done
