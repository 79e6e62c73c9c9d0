# Run in a Debian tree of its own by `cargo xtask test package`: Debian's tgt gives way to ours, ours works, ours goes without a trace.
# /package holds our package as ours.deb, and needs-tgt.deb, which depends on tgt.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
export TGT_IPC_SOCKET=/run/tgtd/socket

say() { echo "-- $*"; }
fail() { echo "failed: $*"; exit 1; }
apt() { apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@" </dev/null; }
# Everything but what package managers and this test keep for themselves.
list() { find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /package -o -path /var/lib/dpkg -o -path /var/lib/apt \
    -o -path /var/cache -o -path /var/log \) -prune -o -print | sort; }

say "alone: installed and purged, nothing stays"
list >/tmp/before
dpkg -i /package/ours.deb
list >/tmp/with
[ "$(comm -13 /tmp/before /tmp/with | wc -l)" -gt 40 ] || fail "hardly anything was installed"
dpkg -V scuzzy
[ -e /etc/systemd/system/multi-user.target.wants/tgt.service ] || fail "the service is not enabled"
dpkg -r scuzzy
[ -e /etc/tgt/targets.conf ] || fail "removing took the configuration away"
dpkg -P scuzzy
list >/tmp/after
# Folders of systemd that the first enabled unit of any package makes are not ours to remove.
comm -13 /tmp/before /tmp/after | grep -v -x -e /etc/systemd/system/multi-user.target.wants -e /var/lib/systemd/deb-systemd-helper-enabled \
    -e /var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants -e /var/lib/systemd/deb-systemd-helper-masked >/tmp/left || true
[ ! -s /tmp/left ] || fail "left behind: $(cat /tmp/left)"
[ ! -e /etc/tgt ] || fail "/etc/tgt is still there"

say "over Debian's tgt, which somebody needs and has configured"
apt install --no-install-recommends tgt
dpkg -i /package/needs-tgt.deb
cat >/etc/tgt/conf.d/one.conf <<END
<target iqn.2026-11.org.example:packaged>
    backing-store /srv/one.img
</target>
END
echo "# the administrator was here" >>/etc/tgt/targets.conf
apt install --no-install-recommends /package/ours.deb
[ "$(dpkg-query -W -f '${db:Status-Abbrev}' scuzzy)" = "ii " ] || fail "ours is not installed"
case "$(dpkg-query -W -f '${db:Status-Abbrev}' tgt)" in i*) fail "Debian's tgt is still installed" ;; esac
[ "$(dpkg-query -W -f '${db:Status-Abbrev}' needs-tgt)" = "ii " ] || fail "who needs tgt is gone"
[ -z "$(dpkg --audit)" ] || fail "dpkg --audit: $(dpkg --audit)"
apt check
grep -q "the administrator was here" /etc/tgt/targets.conf || fail "the edited configuration is lost"
case "$(tgtd -V)" in 1:*|1.0.*) fail "this is the C tgtd" ;; esac
for file in $(dpkg -L scuzzy); do [ -e "$file" ] || fail "$file is missing: removing tgt took it away"; done
dpkg -P tgt
grep -q "the administrator was here" /etc/tgt/targets.conf || fail "purging tgt took our configuration away"
for file in $(dpkg -L scuzzy); do [ -e "$file" ] || fail "$file is missing: purging tgt took it away"; done

say "what is installed"
for page in man8/tgtd.8 man8/tgtadm.8 man8/tgt-admin.8 man8/tgtimg.8 man8/tgt-setup-lun.8 man5/targets.conf.5 man1/scuzzy.1 man1/scuzzy-serve.1; do
    gzip -t "/usr/share/man/$page.gz"
done
for program in scuzzy tgtd tgtadm tgt-admin tgtimg tgt-setup-lun; do
    [ -x /usr/sbin/$program ] || [ -x /usr/bin/$program ] || fail "no $program"
    [ -s /usr/share/bash-completion/completions/$program ] && [ -s /usr/share/zsh/vendor-completions/_$program ] \
        && [ -s /usr/share/fish/vendor_completions.d/$program.fish ] || fail "completions of $program are missing"
done
dpkg -L scuzzy | grep -q '/systemd/system/tgt\.service$' && dpkg -L scuzzy | grep -q '/systemd/system/tgt\.socket$' || fail "units are missing"
[ -s /usr/share/doc/scuzzy/copyright ] && gzip -t /usr/share/doc/scuzzy/changelog.gz
dpkg -V scuzzy | grep -v ' c /etc/tgt/targets.conf$' && fail "files differ from the package's sums" || true

say "it works"
truncate -s 16M /srv/one.img
tgtd --iscsi portal=127.0.0.1:0
tgtadm --mode sys --op show | grep -q 'State: ready'
tgt-admin --execute
tgtadm --mode target --op show | grep -q 'iqn.2026-11.org.example:packaged' || fail "tgt-admin made no target"
tgtadm --mode target --op show | grep -q '/srv/one.img' || fail "the target has no unit"
tgt-admin --update ALL -c /dev/null -f
tgtadm --mode system --op delete

say "removed and purged"
rm /srv/one.img
apt remove needs-tgt scuzzy
[ -e /etc/tgt/targets.conf ] || fail "removing took the configuration away"
[ ! -e /usr/sbin/tgtd ] && [ ! -e /usr/bin/scuzzy ] || fail "removing left programs behind"
rm /etc/tgt/conf.d/one.conf
apt purge scuzzy
[ -z "$(dpkg --audit)" ] || fail "dpkg --audit: $(dpkg --audit)"
list >/tmp/after
comm -12 /tmp/with /tmp/after | comm -13 /tmp/before - | grep -i -e tgt -e scuzzy >/tmp/left || true
[ ! -s /tmp/left ] || fail "left behind: $(cat /tmp/left)"
[ ! -e /etc/tgt ] || fail "/etc/tgt is still there"
say "all is well"
