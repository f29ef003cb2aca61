#!/bin/sh
# Makes a machine image as clouds offer Debian, for tests of what user-data does to it: scripts/stock-image.sh FOLDER, as root.
#
# It is Debian's own cloud image in what matters: cloud-init, netplan and no ifupdown, which cloud-init would prefer, SSH,
# and packages that come from Debian's mirrors when user-data asks for them. From Oracle's images it has the firewall that
# is loaded at each start. It trusts one more certificate authority, whose key lies beside it, so that a test can serve
# downloads over TLS.
#
# Written: stock.ext4 (a disk without partitions), stock.tar (the same files), stock.vmlinuz, stock.initrd, stock-ca.pem,
# stock-ca.key.
set -eu

out=$1
suite=trixie
mirror=http://deb.debian.org/debian
packages=ca-certificates,cloud-init,curl,dbus,iproute2,iptables-persistent,linux-image-cloud-amd64,netplan.io,openssh-server,sudo,systemd-resolved,systemd-sysv,systemd-timesyncd,udev
mkdir -p "$out"
work=$(mktemp -d "$out/stock.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=test of user-data" \
	-addext basicConstraints=critical,CA:TRUE -keyout "$work/stock-ca.key" -out "$work/stock-ca.pem" 2>/dev/null

# What Oracle's images load at each start: only SSH comes in, and nothing is forwarded.
cat >"$work/rules.v4" <<'RULES'
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
RULES

# Host keys and machine identity are made at the first start, as everywhere in clouds.
mmdebstrap --quiet --mode=root --variant=important --include="$packages" --aptopt='Apt::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--customize-hook="mkdir -p \"\$1/usr/local/share/ca-certificates\" \"\$1/etc/iptables\"" \
	--customize-hook="cp $work/stock-ca.pem \"\$1/usr/local/share/ca-certificates/test.crt\"" \
	--customize-hook="cp $work/rules.v4 \"\$1/etc/iptables/rules.v4\"" \
	--customize-hook="chroot \"\$1\" update-ca-certificates >/dev/null 2>&1" \
	--customize-hook="chroot \"\$1\" dpkg --purge ifupdown" \
	--customize-hook="systemctl --root=\"\$1\" --quiet enable systemd-networkd.service" \
	--customize-hook="rm -f \"\$1\"/etc/ssh/ssh_host_* \"\$1/etc/machine-id\" \"\$1/etc/resolv.conf\"; touch \"\$1/etc/machine-id\"" \
	--customize-hook="ln -s /run/systemd/resolve/stub-resolv.conf \"\$1/etc/resolv.conf\"" \
	--customize-hook="echo / / ext4 defaults 0 1 | sed 's,^/,LABEL=stock,' >\"\$1/etc/fstab\"; echo localhost >\"\$1/etc/hostname\"" \
	"$suite" "$work/root" "deb $mirror $suite main" "deb $mirror-security $suite-security main"

cp "$work"/root/boot/vmlinuz-* "$work/stock.vmlinuz"
cp "$work"/root/boot/initrd.img-* "$work/stock.initrd"
truncate -s 3G "$work/stock.ext4"
mkfs.ext4 -q -L stock -d "$work/root" "$work/stock.ext4"
tar -C "$work/root" --numeric-owner -cf "$work/stock.tar" .
rm -rf "$work/root"
for file in stock-ca.key stock-ca.pem stock.vmlinuz stock.initrd stock.tar stock.ext4; do
	mv "$work/$file" "$out/$file"
done
