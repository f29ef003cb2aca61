#!/bin/sh
# Packs this machine's zerotier-one, with the libraries that Debian's base has not, as the vendor's package has it, for test
# images: scripts/zerotier-deb.sh FILE. It fails where there is none.
set -eu

program=$(command -v zerotier-one)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
install -D -m 755 "$program" "$work/usr/sbin/zerotier-one"
ln -s zerotier-one "$work/usr/sbin/zerotier-cli"
for library in $(ldd "$program" | sed -n 's/^[[:space:]]*lib\(miniupnpc\|natpmp\)\.so[^ ]* => \([^ ]*\) .*/\2/p'); do
	install -D -m 644 "$(readlink -f "$library")" "$work/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)/$(basename "$library")"
done
mkdir -p "$work/lib/systemd/system" "$work/DEBIAN"
cat >"$work/lib/systemd/system/zerotier-one.service" <<EOF
[Unit]
Description=ZeroTier One
After=network-online.target network.target
Wants=network-online.target

[Service]
ExecStart=/usr/sbin/zerotier-one
Restart=always
KillMode=process

[Install]
WantedBy=multi-user.target
EOF
# The vendor's package starts it, too.
cat >"$work/DEBIAN/postinst" <<'EOF'
#!/bin/sh
[ ! -d /run/systemd/system ] || systemctl enable --now --quiet zerotier-one.service
EOF
chmod 755 "$work/DEBIAN/postinst"
cat >"$work/DEBIAN/control" <<EOF
Package: zerotier-one
Version: $("$program" -v)
Architecture: $(dpkg --print-architecture)
Maintainer: nobody <nobody@localhost>
Description: this machine's zerotier-one, for tests
EOF
dpkg-deb --root-owner-group -b "$work" "$1" >/dev/null
