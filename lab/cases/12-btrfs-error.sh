#!/bin/bash
# The walk-through of error mode: a btrfs raid1 over three disks, one of which stops taking writes and is healed later.
# lab: iqn=iqn.2026-01.lab:disk
# Needs the host hook (raid-start, raid-rule, raid-show, raid-delete) and a target that has `tgtadm --mode error`.
. /lab/ctl/lib
LOG_ALLOWED='Sense Key|Add\. Sense|ASC=|FAILED Result|CDB:|I/O error, dev|critical (medium|target) error|tag#|BTRFS (error|warning)'
iqn=iqn.2026-01.lab:raid
host raid-start >/tmp/out 2>&1 || { fail "three disks on the host"; cat /tmp/out; done_testing; }
must "login" iscsi_login $iqn "$LAB_PORTAL"
disks=()
for n in 1 2 3; do
    disks[n]=$(unit 0 block $n) || { fail "disk $n appeared"; done_testing; }
done
pass "three disks: ${disks[*]}"
bad=${disks[3]##*/}
[ "$(blockdev --getss "${disks[3]}")" = 4096 ] && pass "blocks of 4096 bytes" || fail "blocks of $(blockdev --getss "${disks[3]}") bytes"

must "btrfs raid1 over the three" mkfs.btrfs -q -f -d raid1 -m raid1 "${disks[@]}"
modprobe -q btrfs
btrfs device scan >/dev/null 2>&1
mkdir -p /mnt/t
must "mount" mount -t btrfs "${disks[1]}" /mnt/t
make_tree /tmp/tree
want=$(tree_sum /tmp/tree)
check "copy files before the rule" cp -a /tmp/tree /mnt/t/before
sync

check "the rule: every WRITE(10) of unit 3 fails with 3/0c02" host raid-rule
keep_log
check "copy files while disk 3 refuses writes" cp -a /tmp/tree /mnt/t/during
sync
dmesg >/tmp/log
grep -qE "\[$bad\].*Sense Key : (Medium Error|0x3)" /tmp/log && pass "the kernel reports a medium error of $bad" ||
    { fail "no medium error of $bad in the log"; tail -n 12 /tmp/log | sed 's/^/     | /'; }
grep -qE "\[$bad\].*(Write error - auto reallocation failed|ASC=0xc,? ASCQ=0x2|ASC=0xc ASCQ=0x2)" /tmp/log && pass "write error, auto reallocation failed" ||
    { fail "no 0c02 in the log"; grep -E 'Add|ASC' /tmp/log | head -n 4 | sed 's/^/     | /'; }
grep -qE "\[(${disks[1]##*/}|${disks[2]##*/})\].*Sense Key" /tmp/log && fail "another disk failed too" || pass "the other disks are well"
[ "$(tree_sum /mnt/t/during)" = "$want" ] && pass "the filesystem survives: what was written during it reads back" || fail "contents differ"
errors=$(btrfs device stats /mnt/t | awk -v d="[${disks[3]}].write_io_errs" '$1 == d { print $2 }')
[ "${errors:-0}" -gt 0 ] && pass "btrfs counts $errors write errors of disk 3" || fail "btrfs counts no write error of disk 3"
count=$(host raid-show | sed -n 's/.*WRITE10.*Count:\([0-9]*\)\/.*/\1/p')
[ "${count:-0}" -gt 0 ] && pass "show counts $count hits" || fail "show counts nothing: $(host raid-show)"

check "delete" host raid-delete
[ -z "$(host raid-show)" ] && pass "show is empty" || fail "show is not empty"
btrfs scrub start -B /mnt/t >/tmp/scrub 2>&1
sed 's/^/     | /' /tmp/scrub
grep -qiE 'corrected|verify=|csum=|super=' /tmp/scrub && pass "scrub finds the damage" || fail "scrub found nothing"
grep -qE 'Uncorrectable: *0|Corrected: *[1-9]' /tmp/scrub && pass "scrub repairs disk 3" || note "scrub's summary names no corrected blocks"
btrfs device stats -z /mnt/t >/dev/null
btrfs scrub start -B /mnt/t >/tmp/scrub2 2>&1
grep -q 'no errors found' /tmp/scrub2 && pass "a second scrub finds nothing" || { fail "damage is left"; sed 's/^/     | /' /tmp/scrub2; }
umount /mnt/t
echo 3 >/proc/sys/vm/drop_caches
must "mount again" mount -t btrfs "${disks[1]}" /mnt/t
[ "$(tree_sum /mnt/t/before)" = "$want" ] && [ "$(tree_sum /mnt/t/during)" = "$want" ] && pass "all files are as they were" || fail "contents differ after the repair"
umount /mnt/t
check "btrfs check" btrfs check "${disks[1]}"
check "logout" iscsi_logout $iqn "$LAB_PORTAL"
done_testing
