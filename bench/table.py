#!/usr/bin/env python3
"""The table of what the data path promises, against the C tgtd in the same run.

  table.py                               measures, prints the table, and compares its ratios with the committed ones
  table.py --write                       the same, and puts Markdown, JSON and a plot into docs/
  table.py --only memory --reps 5        part of it
  table.py --io epoll                    our other driver

A row is one load on one pair of stores.  Both targets run on one CPU, the load on another, interleaved; medians.  What is
held are the ratios ours / C tgtd of CPU time per I/O and of throughput: a row whose CPU ratio is worse than the committed
one by more than --tolerance fails.  Absolute figures are those of the machine.
"""
import argparse, datetime, json, os, shutil, signal, sys, tempfile

import compare
from compare import K, M, HERE, wl

DOCS = os.path.join(HERE, '..', 'docs', 'src')
# store of the pair: profile and settings of the C tgtd, our profile, folder of the image (None: --img-dir)
PAIRS = {
    'memory': ('ctgtd', ['bstype=null'], 'scuzzy-memory', None),
    'cached file': ('ctgtd', ['bstype=rdwr'], 'scuzzy-file', None),
    'direct': ('ctgtd', ['bstype=aio'], 'scuzzy-direct', '--disk-dir'),
    'file, digests': ('ctgtd-digest', [], 'scuzzy-file', None),
}
DIGESTS = dict(hdigest=1, ddigest=1)
# pair, load, our CPU microseconds per I/O at most on the machine the promise was made for (None: only measured)
ROWS = [
    ('memory', wl('randread', 4 * K, 32), 4), ('cached file', wl('randread', 4 * K, 32), 5), ('direct', wl('randread', 4 * K, 32), 7),
    ('memory', wl('randwrite', 4 * K, 32), 5), ('cached file', wl('randwrite', 4 * K, 32), 7), ('direct', wl('randwrite', 4 * K, 32), None),
    ('memory', wl('randread', 4 * K, 32, 4), 3.5), ('cached file', wl('randread', 4 * K, 32, 4), None),
    ('memory', wl('read', 256 * K, 8), 60), ('cached file', wl('read', 256 * K, 8), None), ('file, digests', wl('read', 256 * K, 8, **DIGESTS), 80),
    ('memory', wl('write', 256 * K, 8), 90), ('cached file', wl('write', 256 * K, 8), None), ('file, digests', wl('write', 256 * K, 8, **DIGESTS), 110),
    ('memory', wl('randread', 4 * K, 1), None), ('cached file', wl('randread', 4 * K, 1), None),
]


def measure(a, tool, tmp):
    rows = []
    for number, pair in enumerate(PAIRS):
        wanted = [row for row in ROWS if row[0] == pair and (not a.only or a.only in '%s %s' % (row[0], row[1][0]))]
        if not wanted:
            continue
        c_profile, c_sets, our_profile, folder = PAIRS[pair]
        a.img_dir = a.disk_dir if folder else a.cache_dir
        port = a.port + 2 * number
        folder = os.path.join(tmp, str(number))
        os.makedirs(folder)
        targets = [compare.Target('A', c_profile, c_sets, port, a.ctl, folder, a),
                   compare.Target('B', our_profile, ['io=' + a.io], port + 1, a.ctl + 1, folder, a)]
        try:
            for target in targets:
                target.start()
            for _, (label, spec), bound in wanted:
                rows.append(row_of(pair, label, bound, interleave(a, tool, targets, spec)))
                print(line_of(rows[-1]), flush=True)
        finally:
            for target in targets:
                target.stop()
    return rows


def interleave(a, tool, targets, spec):
    """Medians of both."""
    runs = [[], []]
    for rep in range(a.reps):
        for i in (0, 1) if rep % 2 == 0 else (1, 0):
            for k, target in enumerate(targets):
                target.pause(k != i)
            runs[i].append(compare.load(a, tool, targets[i], spec))
            if targets[i].proc.poll() is not None:
                sys.exit('table.py: %s died' % targets[i].name)
    return [{k: compare.med(r, k) for k in ('iops', 'cpu_us', 'p50', 'p99')} for r in runs]


def row_of(pair, label, bound, medians):
    theirs, ours = medians
    if not all(v for m in medians for v in m.values()):
        sys.exit('table.py: %s, %s: not measured' % (pair, label))
    return dict(store=pair, load=label, bound_cpu_us=bound, ctgtd=theirs, scuzzy=ours,
                cpu_ratio=ours['cpu_us'] / theirs['cpu_us'], iops_ratio=ours['iops'] / theirs['iops'])


def cells(row):
    f = compare.fmt
    bound = row['bound_cpu_us']
    return [row['store'], row['load'], f(row['ctgtd']['iops']), f(row['scuzzy']['iops']), '%.2f' % row['iops_ratio'],
            f(row['ctgtd']['cpu_us']), f(row['scuzzy']['cpu_us']), '-' if bound is None else '%g' % bound, '%.2f' % row['cpu_ratio'],
            f(row['ctgtd']['p50']), f(row['scuzzy']['p50'])]


HEAD = ['store', 'load', 'IOPS, C tgtd', 'IOPS, ours', 'ratio', 'CPU us per I/O, C tgtd', 'ours', 'aim', 'ratio', 'p50 us, C tgtd', 'ours']


def line_of(row):
    return '%-14s %-32s' % tuple(cells(row)[:2]) + ' '.join('%9s' % c for c in cells(row)[2:])


def markdown(rows, a):
    text = ['<!-- written by `cargo xtask bench --table --write` -->', '', 'Measured on %s with `cargo xtask bench --table --reps %d`, driver `%s`. Medians of %d interleaved runs of %g s.'
            % (datetime.date.today().isoformat(), a.reps, a.io, a.reps, a.secs), '',
            '| ' + ' | '.join(HEAD) + ' |', '|' + '---|' * len(HEAD)]
    text += ['| ' + ' | '.join(cells(row)) + ' |' for row in rows]
    return '\n'.join(text) + '\n'


def plot(rows, path):
    import matplotlib
    matplotlib.use('svg')
    matplotlib.rcParams['svg.hashsalt'] = 'scuzzy'
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(9, 0.45 * len(rows) + 1))
    places = range(len(rows))
    axes.barh([p - 0.2 for p in places], [row['ctgtd']['cpu_us'] for row in rows], 0.4, label='C tgtd')
    axes.barh([p + 0.2 for p in places], [row['scuzzy']['cpu_us'] for row in rows], 0.4, label='Scuzzy')
    axes.set_yticks(list(places), ['%s: %s' % (row['store'], row['load']) for row in rows])
    axes.invert_yaxis()
    axes.set_xscale('log')
    axes.set_xlabel('CPU time of the target per I/O, microseconds')
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={'Date': None})


def regressions(rows, committed, tolerance):
    known = {(row['store'], row['load']): row for row in committed}
    worse = []
    for row in rows:
        old = known.get((row['store'], row['load']))
        if old and row['cpu_ratio'] > old['cpu_ratio'] * (1 + tolerance):
            worse.append('%s, %s: CPU per I/O is %.2f of the C tgtd\'s, it was %.2f' % (row['store'], row['load'], row['cpu_ratio'], old['cpu_ratio']))
    return worse


def main():
    ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    ap.add_argument('--write', action='store_true')
    ap.add_argument('--only', metavar='TEXT', help='only rows whose store and load contain TEXT')
    ap.add_argument('--io', choices=('auto', 'uring', 'epoll'), default='auto')
    ap.add_argument('--reps', type=int, default=3)
    ap.add_argument('--secs', type=float, default=2)
    ap.add_argument('--tolerance', type=float, default=0.15, help='part by which a CPU ratio may be worse than the committed one')
    ap.add_argument('--engine', choices=('iload', 'own'), default='iload')
    ap.add_argument('--size', type=int, default=256 * M, help='bytes of the unit')
    ap.add_argument('--cache-dir', default='/dev/shm', help='images of cached files')
    ap.add_argument('--disk-dir', default='/var/tmp', help='images for direct I/O: on a disk')
    ap.add_argument('--port', type=int, default=13260)
    ap.add_argument('--ctl', type=int, default=60)
    ap.add_argument('--target-cpu', type=int, default=0)
    ap.add_argument('--load-cpu', type=int, default=1)
    a = ap.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kept = os.path.join(DOCS, 'performance-%s.json' % ('epoll' if a.io == 'epoll' else 'uring'))
    committed = json.load(open(kept))['rows'] if os.path.exists(kept) else []
    tmp = tempfile.mkdtemp(prefix='table-')
    try:
        print('%-14s %-32s' % ('store', 'load') + ' '.join('%9s' % w for w in ('C iops', 'iops', 'ratio', 'C us', 'us', 'aim', 'ratio', 'C p50', 'p50')))
        rows = measure(a, compare.load_tool(a.engine, tmp), tmp)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    if a.write:
        with open(kept, 'w') as f:
            json.dump(dict(date=datetime.date.today().isoformat(), reps=a.reps, secs=a.secs, engine=a.engine, rows=rows), f, indent=1)
            f.write('\n')
        with open(kept.replace('.json', '.md'), 'w') as f:
            f.write(markdown(rows, a))
        plot(rows, kept.replace('.json', '.svg'))
        return 0
    worse = regressions(rows, committed, a.tolerance)
    for line in worse:
        print('worse: ' + line)
    return 1 if worse else 0


if __name__ == '__main__':
    sys.exit(main())
