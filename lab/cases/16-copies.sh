#!/bin/bash
# Third-party copies: EXTENDED COPY by sg_xcopy; ROD tokens, which ddptctl fetches and reads. A copy of ddpt may lie beside the target's programs.
# lab: iqn=iqn.2026-01.lab:disk
# (ddpt 0.97 of Debian sends numbers of blocks shifted by a byte: POPULATE TOKEN and WRITE USING TOKEN have their lists made here.)
. /lab/ctl/lib
PATH=$PATH:/lab/share
connect
dev=$(unit 0 block "${LAB_LUN:-1}") || { fail "no disk appeared"; done_testing; }
sg=$(unit 0 sg "${LAB_LUN:-1}")
sg_inq "$sg" | grep -q '3PC=1' || { skip "no third-party copy"; done_testing; }
head -c 1M /dev/urandom >/tmp/data
# Places on the disk are pieces of 64 KiB, 128 blocks.
put() { dd if=/tmp/data of="$dev" bs=64k oflag=direct status=none; }
same() { cmp /tmp/data <(dd if="$dev" bs=64k skip="$1" count=16 iflag=direct status=none); }
run() { local out; if out=$("$@" 2>&1); then pass "$*"; else fail "$*"; tail -n 8 <<<"$out" | sed 's/^/     | /'; fi; }
refused() { local code=$1; shift; "$@" >/tmp/out 2>&1; [ $? = "$code" ] && pass "refused: $*" || { fail "not refused: $*"; sed 's/^/     | /' /tmp/out; }; }
# Big-endian bytes of a number, so many.
bytes() { local hex; hex=$(printf "%0$(($2 * 2))x" "$1"); printf '%b' "$(sed 's/../\\x&/g' <<<"$hex")"; }
put

note "EXTENDED COPY"
for bpt in 2048 100 1; do
    run sg_xcopy if="$sg" of="$sg" iflag=xcopy bs=512 count=2048 bpt=$bpt seek=4096
    check "the copy is there" same 32
done
run sg_xcopy if="$sg" of="$sg" iflag=xcopy bs=512 count=2048 bpt=2048 seek=1024
check "blocks that overlap arrive whole" same 8
put

note "tokens"
# POPULATE TOKEN for the first 2048 blocks.
populate() { { bytes 30 2; bytes 0 12; bytes 16 2; bytes 0 8; bytes 2048 4; bytes 0 4; } >/tmp/list; sg_raw -s 32 -i /tmp/list "$sg" 83 10 00 00 00 00 00 00 01 01 00 00 00 20 00 00; }
if command -v ddptctl >/dev/null; then
    run populate
    run ddptctl --receive --rtf=/tmp/token "$sg"
    run ddptctl --all_toks "$sg"
    run ddptctl --info --rtf=/tmp/token
else
    skip "no ddptctl"; done_testing
fi
check "a token has 512 bytes" test "$(stat -c %s /tmp/token)" = 512
# The list of WRITE USING TOKEN for 2048 blocks from place $1, with flags $2.
token_list() { bytes 550 2; bytes "$2" 1; bytes 0 13; cat /tmp/token; bytes 0 6; bytes 16 2; bytes $(($1 * 128)) 8; bytes 2048 4; bytes 0 4; }
write_using() { token_list "$1" "$2" >/tmp/list; sg_raw -s 552 -i /tmp/list "$sg" 83 11 00 00 00 00 00 00 01 01 00 00 02 28 00 00; }
run write_using 96 0
check "what the token stands for is there" same 96
sg_raw -b -r 1024 "$sg" 84 07 00 00 01 01 00 00 00 00 00 00 04 00 00 00 >/tmp/status 2>/dev/null
check "2048 blocks, told in blocks" test "$(od -An -tx1 -j15 -N9 /tmp/status | tr -d ' ')" = f10000000000000800
run write_using 128 2
check "it served once more, to be deleted" same 128
refused 5 write_using 160 0
check "a token that was deleted" grep -qi 'token' /tmp/out
run populate
run ddptctl --receive --rtf=/tmp/token "$sg"
put
refused 5 write_using 160 0
check "a token of blocks that were written since is void" grep -qi 'revoked' /tmp/out
{ bytes 0xffff0001 4; bytes 0x1f8 4; bytes 0 504; } >/tmp/token
run write_using 96 0
check "zeros are there" cmp <(head -c 1M /dev/zero) <(dd if="$dev" bs=64k skip=96 count=16 iflag=direct status=none)
done_testing
