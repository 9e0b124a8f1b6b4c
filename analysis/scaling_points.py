"""What a sweep measured, for the fits of scaling_laws.py: results.csv and the logs of its points."""
import collections
import csv
import os

import numpy as np

import run_files

# One trained dictionary: `loss` is that of the evaluation; `held` [(tokens, loss)] what training logged of held-out rows.
Point = collections.namedtuple("Point", "name n k d tokens setting flops loss held row")

NEEDED = ("point", "status", "latents", "k", "d", "tokens", "fvu")
STARTED = 0.1  # share of its tokens after which a run has left warm-up behind, and its loss may count for L(C)
ALIKE = ("select", "objective", "d")  # where present: columns in which points of one law may not differ


def read_rows(path):
    """The rows of results.csv, {column: text}, with their line in it under "line"."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        said = getattr(problem, "strerror", None) or problem
        raise run_files.Unusable(f"{path}: {said}; is this the directory of a sweep?") from problem
    if not lines or any(column not in lines[0] for column in NEEDED):
        raise run_files.Unusable(f"{path}:1: not the header of a sweep's results ({', '.join(NEEDED)}, ...)")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(lines[0]):
            raise run_files.Unusable(f"{path}:{number}: {len(line)} fields where the header has {len(lines[0])}; the file is "
                                     "torn: run the sweep again, which writes it anew")
    return [{**dict(zip(lines[0], line)), "line": number} for number, line in enumerate(lines[1:], 2)]


def number(path, row, column):
    """A field as a float; None where it is empty."""
    text = row.get(column) or ""
    try:
        return float(text) if text else None
    except ValueError as problem:
        raise run_files.Unusable(f"{path}:{row['line']}: {column} is '{text}', not a number") from problem


def same(text, wanted):
    try:
        return float(text) == float(wanted)
    except ValueError:
        return text == wanted


def only(path, rows, where):
    """The rows that --where asks for; refuses a mixture of trainings that no law describes."""
    for column, wanted in where.items():
        if rows and column not in rows[0]:
            raise run_files.Unusable(f"{path}: has no column {column} (--where {column}={wanted})")
        rows = [row for row in rows if same(row[column], wanted)]
    for column in ALIKE:
        values = sorted({row.get(column) or "" for row in rows})
        if len(values) > 1:
            raise run_files.Unusable(f"{path}: {column} is {' and '.join(values)}: choose one, such as --where "
                                     f"{column}={values[0]}")
    return rows


def held_out_losses(run):
    """[(tokens, loss)] of what a run logged of its held-out rows, 1 - ev; empty where there is no log."""
    if not os.path.exists(os.path.join(run, "metrics.jsonl")):
        return []
    tokens, evs = run_files.series(run_files.read_metrics(run), "heldout_ev")
    return [(t, 1 - ev) for t, ev in zip(tokens, evs) if ev < 1 and t > 0]


def read_points(sweep, where):
    """(complete points, rows in all) of a sweep directory."""
    path = os.path.join(sweep, "results.csv")
    rows = read_rows(path)
    points = []
    for row in only(path, [row for row in rows if row["status"] == "complete"], where):
        n, k, d, tokens, loss, flops = (number(path, row, c) for c in ("latents", "k", "d", "tokens", "fvu", "flops"))
        if None in (n, k, d, tokens) or min(n, k, d, tokens) <= 0:
            raise run_files.Unusable(f"{path}:{row['line']}: a complete point without latents, k, d or tokens")
        if loss is None or not 0 < loss < np.inf:
            raise run_files.Unusable(f"{path}:{row['line']}: fvu of a complete point is '{row['fvu']}'; it must be above 0")
        setting = tuple(row.get(column, "") for column in ("tokens", "lr", "batch"))
        flops = flops or tokens * (2 * n * d + 8 * k * d)  # of training: dense forward, sparse part forward and backward
        run = os.path.join(sweep, "points", row["point"])
        points.append(Point(row["point"], n, k, d, tokens, setting, flops, loss, held_out_losses(run), row))
    if not points:
        raise run_files.Unusable(f"{path}: no complete point" + (" that --where asks for" if where else ""))
    return points, len(rows)


def best(points):
    """For each n and k the seeds of the setting (tokens, lr, batch) whose mean loss is least."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for point in points:
        groups[point.n, point.k][point.setting].append(point)
    chosen = [min(settings.values(), key=lambda seeds: np.mean([p.loss for p in seeds])) for settings in groups.values()]
    return sorted((p for seeds in chosen for p in seeds), key=lambda p: (p.k, p.n, p.name))


def frontier(points, apart=2**0.25, lower=1e-3):
    """[(flops, loss, point)]: the least loss at each compute, of the points and of what their runs logged on the way, each
    below all before it by a share `lower`; compute is binned by the factor `apart`, of a bin the last alone counts."""
    states = [(p.flops, p.loss, p) for p in points]
    states += [(p.flops * tokens / p.tokens, loss, p) for p in points if follows(p) for tokens, loss in p.held
               if tokens >= STARTED * p.tokens]
    least, found = np.inf, {}
    for flops, loss, point in sorted(states, key=lambda s: s[:2]):
        if loss < (1 - lower) * least:
            least, found[int(np.floor(np.log(flops) / np.log(apart)))] = loss, (flops, loss, point)
    return list(found.values())


def follows(point):
    """Whether training logged the loss of the very rows that the evaluation took."""
    return bool(point.held) and abs(point.held[-1][1] - point.loss) <= 1e-3 * point.loss


def settled(held, within):
    """Tokens from which on the held-out loss stays within a share of its last value, between two logged ones on a line
    in the logarithm of tokens; None when it was never outside."""
    bound = held[-1][1] * (1 + within)
    outside = [i for i, (_, loss) in enumerate(held) if loss > bound]
    if not outside or outside[-1] + 1 >= len(held):
        return None
    (t0, l0), (t1, l1) = held[outside[-1]], held[outside[-1] + 1]
    return float(np.exp(np.interp(-bound, [-l0, -l1], np.log([t0, t1]))))
