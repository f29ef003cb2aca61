#!/bin/sh
# Makes the tree of a release in dist: scripts/release.sh VERSION KEYS [TARGET…], as root where targets of images are
# named. Images without ZeroTier's service are for tests: give ZEROTIER its vendor's package, see `make image`.
set -eu

PATH=$PATH:/usr/local/go/bin
cd "$(dirname "$0")/.."
version=$1 keys=$2
shift 2
commit=$(git rev-parse --short=12 HEAD)
date=$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)
out=${ZTBRIDGE_DIST:-dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

CGO_ENABLED=0 go build -o "$work/ztbridge-image" ./cmd/ztbridge-image
rm -rf "$out"
images=
for target in "$@"; do
	images=$work/images
	mkdir -p "$images"
	public=$work/release.pub
	"$work/ztbridge-image" public-key --keys "$keys" >"$public"
	# shellcheck disable=SC2086 # a list of arguments
	"$work/ztbridge-image" build --target "$target" --version "$version" --update-key "$public" ${ZEROTIER:---without-zerotier} \
		${RELEASE_URL:+--update-url "$RELEASE_URL/updates"} -o "$images/ztbridge-$target"
done
"$work/ztbridge-image" release --version "$version" --commit "$commit" --date "$date" --keys "$keys" --url "${RELEASE_URL:-}" --images "$images" -o "$out"
[ -n "$images" ] || echo "release: LEFT OUT: images and update bundles, since IMAGES is empty" >&2
case "${ZEROTIER:---without-zerotier}" in
*--without-zerotier*) [ -z "$images" ] || echo "release: WARNING: the images are without ZeroTier, for tests only" >&2 ;;
esac
