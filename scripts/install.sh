#!/bin/sh
# Installs what `make build` has built: program, units, users and directories, reference configuration. It starts
# nothing, and running it again brings a newer version in place. A configuration that is there is left alone.
#
#	scripts/install.sh              install or upgrade
#	scripts/install.sh --uninstall  take away what it installed; configuration and keys stay
#
# DESTDIR installs below another directory and touches nothing that runs.
set -eu

root=${DESTDIR:-}
here=$(cd "$(dirname "$0")/.." && pwd)
units='ztbridge-guard.service ztbridge.service ztbridge-import.socket ztbridge-import@.service'

fail() {
	echo "install: error: $1" >&2
	[ $# -lt 2 ] || echo "install: hint: $2" >&2
	exit 1
}

# on_this_machine says that what is installed is to be used here and now, under systemd.
on_this_machine() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

install_all() {
	[ -x "$here/bin/ztbridge" ] || fail "bin/ztbridge has not been built" "make build"
	# In one step, since the old one may be running.
	install -D -m 755 "$here/bin/ztbridge" "$root/usr/bin/ztbridge.new"
	mv -f "$root/usr/bin/ztbridge.new" "$root/usr/bin/ztbridge"
	mkdir -p "$root/etc/systemd/system"
	for unit in $units; do
		# The manual comes with the package alone.
		sed '/^Documentation=man:/d' "$here/configs/systemd/$unit" >"$root/etc/systemd/system/.$unit"
		chmod 644 "$root/etc/systemd/system/.$unit"
		mv -f "$root/etc/systemd/system/.$unit" "$root/etc/systemd/system/$unit"
	done
	install -D -m 644 "$here/configs/sysusers.d/ztbridge.conf" "$root/usr/lib/sysusers.d/ztbridge.conf"
	install -D -m 644 "$here/configs/tmpfiles.d/ztbridge.conf" "$root/usr/lib/tmpfiles.d/ztbridge.conf"
	# So that other programs leave our rules, routes and interfaces alone.
	install -D -m 644 "$here/configs/networkd.conf.d/50-ztbridge.conf" "$root/usr/lib/systemd/networkd.conf.d/50-ztbridge.conf"
	install -D -m 644 "$here/configs/NetworkManager/50-ztbridge.conf" "$root/usr/lib/NetworkManager/conf.d/50-ztbridge.conf"
	# The reference beside the configuration shows what a newer version knows.
	install -D -m 644 "$here/configs/ztbridge.yaml" "$root/usr/share/doc/ztbridge/ztbridge.yaml"
	[ -e "$root/etc/ztbridge/ztbridge.yaml" ] ||
		install -D -m 600 "$here/configs/ztbridge.yaml" "$root/etc/ztbridge/ztbridge.yaml"
	if [ -z "$root" ]; then
		make_users
	fi
	if on_this_machine; then
		systemd-tmpfiles --create ztbridge.conf
		systemctl daemon-reload
		# The packet filter stays as it is while the new daemon takes over from the old one.
		systemctl try-restart ztbridge.service
	fi
	echo "ztbridge is installed. Edit $root/etc/ztbridge/ztbridge.yaml, try it with \`ztbridge config check\`, and"
	echo "start it: systemctl enable --now ztbridge-guard ztbridge"
}

# make_users makes those of sysusers.d/ztbridge.conf, where need be without systemd.
make_users() {
	if command -v systemd-sysusers >/dev/null; then
		systemd-sysusers ztbridge.conf
		return
	fi
	getent group ztbridge >/dev/null || groupadd --system ztbridge
	getent passwd ztbridge >/dev/null ||
		useradd --system --gid ztbridge --home-dir / --no-create-home --shell /usr/sbin/nologin ztbridge
	getent passwd ztbridge-ovpn >/dev/null ||
		useradd --system --user-group --home-dir / --no-create-home --shell /usr/sbin/nologin ztbridge-ovpn
}

uninstall() {
	if on_this_machine; then
		systemctl disable --now ztbridge.service 2>/dev/null || true
	fi
	# Routes, rules, filters and sysctls go back to what they were, while there is still a program to do it.
	if [ -z "$root" ] && [ -x /usr/bin/ztbridge ]; then
		/usr/bin/ztbridge down || fail "ztbridge down failed: no file was taken away" "mend what it says, and run this again"
	fi
	if on_this_machine; then
		systemctl disable --now ztbridge-guard.service 2>/dev/null || true
	fi
	for unit in $units; do
		rm -f "$root/etc/systemd/system/$unit"
	done
	rm -f "$root/usr/bin/ztbridge" "$root/usr/lib/sysusers.d/ztbridge.conf" "$root/usr/lib/tmpfiles.d/ztbridge.conf" \
		"$root/usr/lib/systemd/networkd.conf.d/50-ztbridge.conf" "$root/usr/lib/NetworkManager/conf.d/50-ztbridge.conf"
	rm -rf "$root/usr/share/doc/ztbridge"
	if on_this_machine; then
		systemctl daemon-reload
	fi
	echo "ztbridge is gone. What is yours is left: $root/etc/ztbridge, $root/var/lib/ztbridge"
}

[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "it installs for the whole machine" "sudo $0 $*"
if [ -z "$root" ] && [ "$(dpkg-query -W -f '${db:Status-Status}' ztbridge 2>/dev/null)" = installed ]; then
	fail "ztbridge is installed as a Debian package already" "apt remove ztbridge"
fi
case "${1:-}" in
'') install_all ;;
--uninstall) uninstall ;;
*) fail "unknown argument: $1" "$0 [--uninstall]" ;;
esac
