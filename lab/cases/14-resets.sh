#!/bin/bash
# fio while the unit and the target are reset and connections are cut, over and over; afterwards every block is right.
# A command that hangs in the target, and what the kernel's abort makes of it.
# lab: iqn=iqn.2026-01.lab:disk
# Extra variables: LAB_FIO_SIZE (16M), LAB_RATE (writes a second, 600)
. /lab/ctl/lib
LOG_ALLOWED='detected conn error|session recovery|Power-on|tmf|abort|reset|timing out command'
connect "node.session.timeo.replacement_timeout=30"
lun=${LAB_LUN:-1}
dev=$(unit 0 block $lun) || { fail "no disk appeared"; done_testing; }
sd=${dev##*/}
: "${LAB_FIO_SIZE:=16M}" "${LAB_RATE:=600}"
job=(--name=v --filename="$dev" --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=16 --size="$LAB_FIO_SIZE"
    --verify=crc32c --verify_fatal=1 --randseed=7 --minimal)
logged_in() { [ "$(cat /sys/class/iscsi_session/session*/state)" = LOGGED_IN ]; }

# storm PID: resets of every kind until the load has ended.
storm() {
    local kind
    for kind in d t b H; do count[$kind]=0; done
    while kill -0 "$1" 2>/dev/null; do
        for kind in d t b H; do
            [ "${count[$kind]}" = no ] && continue
            # (a kind that the kernel's initiator has no handler for fails at once)
            if sg_reset -$kind -N "$dev" >>/tmp/reset 2>&1; then count[$kind]=$((count[$kind] + 1)); else count[$kind]=no; fi
            sleep 0.1
        done
    done
}
tell() {
    for kind in "d unit" "t target" "b bus" "H host"; do
        [ "${count[${kind% *}]}" = no ] && skip "resets of the ${kind#* } (the initiator has none)" || pass "${count[${kind% *}]} resets of the ${kind#* }"
    done
}
declare -A count
fio "${job[@]}" --do_verify=0 --rate_iops="$LAB_RATE" >/tmp/fio.out 2>&1 & load=$!
storm $load
wait $load && pass "fio writes $LAB_FIO_SIZE while the unit is reset" || { fail "fio writes while the unit is reset"; tail -n 4 /tmp/fio.out; }
tell
fio "${job[@]}" --verify_only --rate_iops=$((LAB_RATE * 3)) >/tmp/fio.out 2>&1 & load=$!
storm $load
wait $load && pass "every block is right, read while the unit is reset" || { fail "blocks are wrong"; tail -n 4 /tmp/fio.out; }
wait_for 20 logged_in || fail "the session is down"

note "connections are cut in the middle of writes"
if host rule op=WRITE10,lba=0,len=8192,repeat=3,action=DROP_CONNECTION >/tmp/inject 2>&1; then
    check "fio writes over cut connections" fio "${job[@]}" --do_verify=0 --verify_interval=4096 --verify_pattern=0x5a --verify=pattern
    check "every block is right" fio "${job[@]}" --verify_only --verify_pattern=0x5a --verify=pattern
    host rules-clear >/dev/null
    note "a command hangs in the target"
    echo 3 >"/sys/block/$sd/device/timeout"
    check "rule" host rule op=READ10,lba=4000,len=8,repeat=1,action=HANG
    start=${EPOCHREALTIME/./}
    check "a read that hung is aborted, and read again" dd if="$dev" of=/dev/null bs=4k skip=500 count=1 iflag=direct
    ms=$(((${EPOCHREALTIME/./} - start) / 1000))
    echo "     | $ms ms, of which the kernel waited 3000 to 6000 before it aborted"
    # (the unit gives an abort five seconds; a busy machine takes some itself)
    [ $ms -lt 15000 ] && pass "in bounded time" || fail "it took $ms ms"
    host rules-clear >/dev/null
    echo 30 >"/sys/block/$sd/device/timeout"
else
    skip "cut connections, a command that hangs (the target has no fault rules)"
fi
check "logout" iscsi_logout "$IQN" "$LAB_PORTAL"
done_testing
