#!/bin/sh
# Installs what building images and packages needs, and with --test what booting them in QEMU needs too, and the packages named.
set -eu

packages="arch-test binfmt-support debian-archive-keyring dosfstools grub-common kmod mmdebstrap mtools qemu-user-static
	qemu-utils squashfs-tools"
if [ "${1-}" = --test ]; then
	shift
	packages="$packages cloud-init fdisk groff-base lintian ovmf qemu-efi-aarch64 qemu-system-arm qemu-system-x86 shellcheck
		systemd-container"
fi
# shellcheck disable=SC2086 # a list
exec "$(dirname "$0")/deps.sh" $packages "$@"
