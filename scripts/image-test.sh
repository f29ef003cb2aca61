#!/bin/sh
# Builds test images and boots them in QEMU: scripts/image-test.sh [TARGET…], as root. Packages that the mirror no longer
# has in the locked version are resolved again for this run, which is said. ZTBRIDGE_IMAGE_RUN limits it to the tests whose
# names match, as of go test; there is no image with ZeroTier then, and no stock image of Debian's is made.
set -eu

cd "$(dirname "$0")/.."
dir=${ZTBRIDGE_IMAGE_TEST:-/var/cache/ztbridge-image/test}
cache=${ZTBRIDGE_IMAGE_CACHE:-/var/cache/ztbridge-image}
run=${ZTBRIDGE_IMAGE_RUN:-}
mkdir -p "$dir"
go build -o "$dir/ztbridge-image" ./cmd/ztbridge-image
[ -e "$dir/test.key" ] || "$dir/ztbridge-image" keygen "$dir/test"

build() { # target lock
	"$dir/ztbridge-image" build --target "$1" --lock "$2" --update-key "$dir/test.pub" --update-url https://updates.lab/updates \
		--without-zerotier --cache "$cache" -o "$dir/$1" || return
	if [ "$1" = cloud-amd64 ] && [ -z "$run" ] && command -v zerotier-one >/dev/null; then
		scripts/zerotier-deb.sh "$dir/zerotier-one.deb" || return
		sum=$(sha256sum "$dir/zerotier-one.deb")
		"$dir/ztbridge-image" build --target "$1" --lock "$2" --zerotier-deb "$dir/zerotier-one.deb" --zerotier-sha256 "${sum%% *}" \
			--cache "$cache" -o "$dir/$1-zerotier"
	fi
}

for target in "${@:-cloud-amd64}"; do
	lock=image/build/lock/$target.lock
	if ! build "$target" "$lock"; then
		echo "image-test: building $target again with the packages of today" >&2
		"$dir/ztbridge-image" lock --target "$target" -o "$dir/$target.lock"
		build "$target" "$dir/$target.lock"
	fi
done
if [ -z "$run" ]; then
	[ -e "$dir/stock.tar" ] || scripts/stock-image.sh "$dir"
	[ -e "$dir/release-keys" ] || "$dir/ztbridge-image" release-keys "$dir/release-keys"
	RELEASE_URL=https://ztbridge.example.org ZTBRIDGE_DIST=$dir/dist scripts/release.sh 1.0.0 "$dir/release-keys"
fi
root=$(find "$cache" -maxdepth 1 -name 'root-*.tar' -exec sh -c 'tar -tf "$1" ./usr/lib/x86_64-linux-gnu/ >/dev/null 2>&1' sh {} \; -print -quit)
ZTBRIDGE_LONG=1 ZTBRIDGE_IMAGE_TEST=$dir ZTBRIDGE_ROOT_TAR=$root go test -count=1 -v -run "$run" -timeout 180m ./image/...
