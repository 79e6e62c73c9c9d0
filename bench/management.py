"""Time of the control plane: targets and units made over the control socket, with tgtadm's own requests but without a process for each.

Used by compare.py --management N. Both daemons get the same bytes: N targets with a unit each, then one target with N units; store null, so that no
file is opened. The time of a single request is the median of the eleven around the place that is named (the 10th, the Nth).
"""
import os, socket, statistics, struct, time

FIRST = 1000            # number of the first target: below are those of the profile


def request(path, mode, op, tid, lun, text=''):
    data = text.encode() + b'\0' if text else b''
    head = struct.pack('<II64sIiQQIIIIII', mode, op, b'', 120 + len(data), tid, 0, lun, 0, 0, 0, 0, 0, 0)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(head + data)
        answer = b''
        while len(answer) < 8:
            part = s.recv(65536)
            if not part:
                raise SystemExit('management.py: %s hung up' % path)
            answer += part
    error = struct.unpack('<I', answer[:4])[0]
    if error:
        raise SystemExit('management.py: %s: request %d/%d of target %d unit %d: error %d' % (path, mode, op, tid, lun, error))


def timed(*words):
    start = time.perf_counter()
    request(*words)
    return time.perf_counter() - start


def unit(path, tid, lun):
    return timed(path, 2, 0, tid, lun, 'path=/dev/null,bstype=null')


def around(times, place):
    return statistics.median(times[max(0, place - 6):place + 5]) * 1e6


def measure(ctl, n):
    path = '%s.%s' % (os.environ.get('TGT_IPC_SOCKET', '/var/run/tgtd/socket'), ctl)
    start = time.perf_counter()
    pairs = []
    for tid in range(FIRST, FIRST + n):
        made = timed(path, 1, 0, tid, 2 ** 64 - 1, 'targetname=iqn.2026-11.bench:%d' % tid)
        pairs.append(made + unit(path, tid, 1))
    many = time.perf_counter() - start
    tid = FIRST + n
    request(path, 1, 0, tid, 2 ** 64 - 1, 'targetname=iqn.2026-11.bench:%d' % tid)
    units = [unit(path, tid, lun) for lun in range(1, n + 1)]
    show = timed(path, 1, 2, -1, 2 ** 64 - 1)
    return {
        'targets_s': round(many, 3), 'target_10_us': round(around(pairs, 10)), 'target_n_us': round(around(pairs, n)),
        'unit_10_us': round(around(units, 10)), 'unit_n_us': round(around(units, n)), 'show_s': round(show, 4),
    }
