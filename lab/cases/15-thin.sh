#!/bin/bash
# File systems that discard, on a thin disk: the image gives its blocks back, and what is left is right.
# lab: iqn=iqn.2026-01.lab:disk
# Uses the host hook, if there is one: host used prints the blocks that the image takes.
. /lab/ctl/lib
# (xfs says so to every remount)
LOG_ALLOWED='attr2 mount option is deprecated'
connect
dev=$(unit 0 block "${LAB_LUN:-1}") || { fail "no disk appeared"; done_testing; }
sg=$(unit 0 sg "${LAB_LUN:-1}")
limit=$(cat "/sys/block/${dev##*/}/queue/discard_max_bytes")
[ "$limit" -gt 0 ] && pass "the kernel discards up to $((limit >> 20)) MB at a time" || { fail "the disk does not discard"; done_testing; }
host used >/dev/null 2>&1 || { skip "how much the image takes (no host hook)"; done_testing; }
used() { echo $(($(host used) / 2048)); }
# gives_back NAME MB_BEFORE MB_LESS: within a few seconds the image is so much smaller.
gives_back() {
    local now until=$((SECONDS + 8))
    until now=$(used); [ $((now + $3)) -le "$2" ] || [ $SECONDS -ge $until ]; do sleep 0.2; done
    [ $((now + $3)) -le "$2" ] && pass "$1: $2 MB, then $now MB" || fail "$1: $2 MB, then $now MB"
}
check "discard the whole disk" blkdiscard -f "$dev"
[ "$(used)" -le 1 ] && pass "the image takes nothing" || fail "the image takes $(used) MB"
# (LBA, blocks, provisioning status: 0 mapped, 1 deallocated)
deallocated() { sg_get_lba_status -b -b --lba="$1" "$sg"; }
[ "$(deallocated 0)" = 1 ] && pass "GET LBA STATUS: deallocated" || fail "GET LBA STATUS says $(sg_get_lba_status -b --lba=0 "$sg" | head -1)"
dd if=/dev/urandom of="$dev" bs=1M count=1 seek=1 oflag=direct status=none
[ "$(deallocated 2048)" = 0 ] && pass "GET LBA STATUS: mapped" || fail "GET LBA STATUS of written blocks says $(sg_get_lba_status -b --lba=2048 "$sg" | head -1)"
check "discard a megabyte" blkdiscard -f -o 1M -l 1M "$dev"
[ "$(deallocated 2048)" = 1 ] && pass "GET LBA STATUS: deallocated again" || fail "GET LBA STATUS of discarded blocks"
check "discarded blocks read as zeros" cmp -n 1048576 /dev/zero <(dd if="$dev" bs=1M skip=1 count=1 iflag=direct status=none)

mkdir -p /mnt/t /tmp/keep
for n in 1 2 3 4; do head -c 4M /dev/urandom >/tmp/keep/$n; done
head -c 32M /dev/urandom >/tmp/big
want=$(tree_sum /tmp/keep)
for fs in ext4 xfs btrfs; do
    force=-f option=discard
    [ $fs = ext4 ] && force=-F
    [ $fs = btrfs ] && option=discard=sync
    check "mkfs.$fs" "mkfs.$fs" $force "$dev" || continue
    modprobe -q $fs
    must "mount $fs with $option" mount -t $fs -o $option "$dev" /mnt/t
    cp -r /tmp/keep /mnt/t/
    # Between each two files that go one that stays.
    for n in 1 2; do cp /tmp/big "/mnt/t/go$n"; cp /tmp/keep/$n "/mnt/t/keep/again$n"; done
    sync -f /mnt/t
    before=$(used)
    rm /mnt/t/go1
    sync -f /mnt/t
    gives_back "$fs, mount -o $option: a file of 32 MB goes" "$before" 30
    mount -o remount,nodiscard /mnt/t
    before=$(used)
    rm /mnt/t/go2
    sync -f /mnt/t
    check "fstrim" fstrim /mnt/t
    gives_back "$fs, fstrim: a file of 32 MB goes" "$before" 30
    umount /mnt/t
    echo 3 >/proc/sys/vm/drop_caches
    mount -t $fs "$dev" /mnt/t
    for n in 1 2; do cmp /tmp/keep/$n "/mnt/t/keep/again$n" && rm "/mnt/t/keep/again$n" || fail "$fs: a file that stays is damaged"; done
    [ "$(tree_sum /mnt/t/keep)" = "$want" ] && pass "$fs: contents after remount" || fail "$fs: contents differ"
    umount /mnt/t
    case $fs in
    ext4) check "fsck ext4" e2fsck -fn "$dev" ;;
    xfs) check "xfs_repair -n" xfs_repair -n "$dev" ;;
    btrfs) check "btrfs check" btrfs check "$dev" ;;
    esac
done
check "discard it all" blkdiscard -f "$dev"
[ "$(used)" -le 1 ] && pass "the image takes nothing" || fail "the image takes $(used) MB"
check "logout" iscsi_logout "$IQN" "$LAB_PORTAL"
done_testing
