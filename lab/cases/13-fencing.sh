#!/bin/bash
# Persistent reservations with two initiators and three nexuses: who may do what under every type, and who hears of it.
# lab: iqn=iqn.2026-01.lab:disk
# The expectations are SPC's and SBC's tables, in fixtures/fencing.py.
. /lab/ctl/lib
# The kernel tells of unit attentions that sg_persist's changes bring.
LOG_ALLOWED='Parameters changed|Mode parameters changed|Warning! Received an indication'
iscsi_up
IQN=${LAB_IQN:-$(iscsi_discover "$LAB_PORTAL" | head -1)}
node() { iscsiadm -m node -T "$IQN" -p "$LAB_PORTAL" "$@"; }
# Two sessions of the guest's own name, which differ in their ISID, and one of another name.
must "the initiator's own record" node -I default -o new
check "two sessions of one name" node -I default -o update -n node.session.nr_sessions -v 2
must "log in twice" node -l
# (a second record for the same portal takes the place of the first; its sessions stay)
check "another initiator" iscsiadm -m iface -I other -o new
iscsiadm -m iface -I other -o update -n iface.initiatorname -v iqn.2026-01.lab:other >/dev/null
iscsiadm -m iface -I other -o update -n iface.transport_name -v tcp >/dev/null
must "its record" node -I other -o new
must "log in as another" node -I other -l
lun=${LAB_LUN:-1}
three() { [ "$(scsi_units | awk -v l=$lun '$4 == 0 && $3 == l && $6 != "-"' | wc -l)" = 3 ]; }
wait_for 10 three && pass "three nexuses" || { fail "not three nexuses"; scsi_units; done_testing; }
own=() other=()
while read -r session sg; do
    name=$(cat "/sys/class/iscsi_session/session$session/initiatorname")
    if [ "$name" = iqn.2026-01.lab:other ]; then other+=("/dev/$sg"); else own+=("/dev/$sg") own_name=$name; fi
done < <(scsi_units | awk -v l=$lun '$4 == 0 && $3 == l { print $1, $6 }')
# (a program, for Python to call)
{ echo '#!/bin/bash'; declare -f host wait_for; echo 'host "$@"'; } >/tmp/host
chmod +x /tmp/host
while read -r line; do
    case $line in
    ok\ *) pass "${line#ok }" ;;
    FAIL\ *) fail "${line#FAIL }" ;;
    skip\ *) skip "${line#skip }" ;;
    *) echo "     | $line" ;;
    esac
done < <(python3 /lab/ctl/fixtures/fencing.py "${own[0]}" "${other[0]}" "${own[1]}" "$own_name" iqn.2026-01.lab:other 2>&1)
check "log out" iscsiadm -m session -u
done_testing
