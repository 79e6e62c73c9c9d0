#!/bin/bash
# A disk that fails halfway: SANITIZE with and without somebody who waits, and self-tests that find a bad block. Fault rules with blocks do it.
# lab: iqn=iqn.2026-01.lab:disk
. /lab/ctl/lib
LOG_ALLOWED='Sense Key|Add. Sense|CDB|I/O error|Medium Error|Not Ready|tag#|[Ss]anitize|critical medium'
connect
dev=$(unit 0 block "${LAB_LUN:-1}") || { fail "no disk appeared"; done_testing; }
sg=$(unit 0 sg "${LAB_LUN:-1}")
host rule op=SANITIZE_BLOCK_ERASE,lba=500000,len=1,key=3,asc=0x0c02,repeat=1 >/dev/null 2>&1 || { skip "no fault rules"; done_testing; }
run() { local out; if out=$("$@" 2>&1); then pass "$*"; else fail "$*"; tail -n 8 <<<"$out" | sed 's/^/     | /'; fi; }
refused() { if "$@" >/tmp/out 2>&1; then fail "not refused: $*"; else pass "refused: $*"; fi; }
read_block() { sg_raw -r 512 "$sg" 28 00 00 00 00 00 00 00 01 00; }
fill() { for at in 0 390 400 510; do dd if=/dev/urandom of="$dev" bs=1M seek=$at count=1 oflag=direct status=none; done; }

note "SANITIZE"
fill
refused sg_sanitize --block --quick --wait "$sg"
refused read_block
check "the disk says why" grep -qi 'sanitize command failed' /tmp/out
run sg_sanitize --block --quick --wait "$sg"
run read_block
fill
host rule op=SANITIZE_BLOCK_ERASE,lba=500000,len=1,key=3,asc=0x0c02,repeat=1 >/dev/null
sg_sanitize --block --quick --early "$sg" >/dev/null 2>&1
for _ in $(seq 50); do sg_turs "$sg" >/tmp/out 2>&1 || grep -qi 'in progress' /tmp/out || break; sleep 0.2; done
refused read_block
check "the disk says why" grep -qi 'sanitize command failed' /tmp/out
run sg_sanitize --block --quick --wait "$sg"
check "all is erased" cmp -n $((512 << 20)) /dev/zero <(dd if="$dev" bs=1M iflag=direct status=none)

note "self-tests"
host rule op=SEND_DIAGNOSTIC,lba=500000,len=1,key=3,asc=0x1100,repeat=1 >/dev/null
refused sg_senddiag --selftest=6 "$sg"
check "the log has the block" grep -qi '0x7a120' <(sg_logs --page=0x10 "$sg")
refused sg_senddiag --selftest=6 "$sg"
dd if=/dev/zero of="$dev" bs=512 seek=500000 count=1 oflag=direct status=none
run sg_senddiag --selftest=6 "$sg"
done_testing
