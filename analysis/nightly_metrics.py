"""What a night measured, and how it compares with the last good night: metrics, spreads over seeds, verdicts."""
import collections
import os

import numpy as np

import run_files
import scaling_points

# One figure: `values` of its seeds; `better` "higher", "lower" or None (neither); `spread` within which chance moves it,
# None where it is that of the values, which takes two seeds.
Metric = collections.namedtuple("Metric", "part name values better spread")
# A figure of two nights: `before`, `now` means or None; `spread` or None; `verdict` one of the words below.
Change = collections.namedtuple("Change", "metric before now spread verdict")

SAME, MOVED, BETTER, WORSE = "same", "moved", "better", "worse"
NEW, MISSING, UNJUDGED = "new", "missing", "one seed"
FAILED = "points that are not complete"


def finite(values):
    return [float(v) for v in values if run_files.is_number(v) and np.isfinite(v)]


# ---- collecting -------------------------------------------------------------------------------------------------

def of_sweep(directory):
    """ev of each n and k over seeds, and how many points failed."""
    path = os.path.join(directory, "results.csv")
    rows = scaling_points.read_rows(path)
    groups = collections.defaultdict(list)
    for row in (row for row in rows if row["status"] == "complete"):
        kind = "" if row.get("select") in ("topk", "", None) else f" {row['select']}"
        kind += "" if row.get("objective") in ("plain", "", None) else f" {row['objective']}"
        ev = 1 - (scaling_points.number(path, row, "fvu") or np.nan)
        groups[f"ev, n {row['latents']}, k {row['k']}{kind}"].append(ev)
    failed = sum(row["status"] != "complete" for row in rows)
    return [Metric("sweep", FAILED, [failed], "lower", 0.0),
            *(Metric("sweep", name, finite(values), "higher", None) for name, values in groups.items())]


def seeds_of(training):
    """Names of the directories of the seeds of one training of reproduce.py; none where it is no training."""
    names = os.listdir(training) if os.path.isdir(training) else []
    return sorted(name for name in names if name.startswith("seed-"))


def evaluations(training):
    """eval.json of each seed of one training, on the rows without outliers where there are some."""
    found = []
    for seed in seeds_of(training):
        whole = run_files.read_json(os.path.join(training, seed, "eval.json")) or {}
        plain = run_files.read_json(os.path.join(training, seed, "plain", "eval.json")) or {}
        found.append({**whole, **{key: value for key, value in plain.items() if value is not None}})
    return found


def of_objectives(directory):
    """ev, max_cos and, where there are gradients, first_order_r2 of the trainings of reproduce.py."""
    metrics = []
    for name in sorted(os.listdir(directory)):
        found = evaluations(os.path.join(directory, name))
        for key, better in (("ev", "higher"), ("max_cos", None), ("first_order_r2", "higher")):
            values = finite(e.get(key) for e in found)
            if values:
                metrics.append(Metric("objectives", f"{key}, {name}", values, better, None))
    return metrics


def of_ensembles(directory):
    """ev and stability of the rows of ensemble_study.py's table."""
    metrics = []
    for row in run_files.read_json(os.path.join(directory, "table.json")) or []:
        for key, better in (("ev", "higher"), ("stability", "higher"), ("connectivity", None)):
            values = finite(row.get(key) or [])
            if values:
                metrics.append(Metric("ensembles", f"{key}, {row['method']} of {row['members']}", values, better, None))
    return metrics


def label(law, name):
    return f"{law['formula']}{'' if law['k'] is None else ' at k %g' % law['k']}: {name}"


def of_scaling(directory):
    """The identified exponents and irreducible parts of scaling.json."""
    metrics = []
    for law in (run_files.read_json(os.path.join(directory, "scaling.json")) or {}).get("laws", []):
        for name, p in law.get("parameters", {}).items():
            if p["identified"] and name != "a" and not name.startswith("c_"):
                metrics.append(Metric("scaling", label(law, name), [p["value"]], None, (p["high"] - p["low"]) / 2))
    return metrics


COLLECT = {"sweep": of_sweep, "objectives": of_objectives, "ensembles": of_ensembles, "scaling": of_scaling}


def collect(night, parts):
    """Every Metric of a night's directory."""
    metrics = []
    for part in parts:
        metrics += COLLECT[part](os.path.join(night, "sweep" if part == "scaling" else part))
    return metrics


def as_json(metrics):
    return [metric._asdict() for metric in metrics]


def from_json(items):
    return [Metric(**item) for item in items]


# ---- comparing --------------------------------------------------------------------------------------------------

def mean(metric):
    return float(np.mean(metric.values)) if metric is not None and metric.values else None


def spread_of(*metrics):
    """The largest of the spreads; None when none is known."""
    known = [m.spread if m.spread is not None else max(m.values) - min(m.values) for m in metrics
             if m.spread is not None or len(m.values) > 1]
    return max(known, default=None)


def judge(better, difference, spread):
    if spread is None:
        return SAME if difference == 0 else UNJUDGED
    if abs(difference) <= spread:
        return SAME
    if better is None:
        return MOVED
    return BETTER if (difference > 0) == (better == "higher") else WORSE


def change(before, now):
    """The Change of one figure; either may be None."""
    known, old, new = now or before, mean(before), mean(now)
    if new is None:
        verdict = MISSING if known.better is not None else MOVED
        return Change(known, old, None, None, verdict)
    if old is None:
        return Change(known, None, new, spread_of(now), NEW)
    spread = spread_of(before, now)
    return Change(known, old, new, spread, judge(known.better, new - old, spread))


def compare(before, now):
    """Changes from the metrics of the last good night (empty: none yet) to those of this one, in this one's order."""
    old, new = ({(m.part, m.name): m for m in metrics} for metrics in (before, now))
    keys = list(new) + [key for key in old if key not in new]
    return [change(old.get(key), new.get(key)) for key in keys]


def is_regression(c):
    """Worse than the last good night, or a failed point: no night with one is good."""
    return c.verdict in (WORSE, MISSING) or (c.metric.name == FAILED and c.now > 0)


def regressions(changes):
    return [c for c in changes if is_regression(c)]


def describe(c, good):
    """One line on a Change; good: good.json or None."""
    told = "not measured" if c.now is None else f"{c.now:.5g}"
    if good is None or c.before is None:
        return f"{c.metric.part}: {c.metric.name}: {told}; no good night yet"
    spread = f", spread {c.spread:.2g}" if c.spread is not None else ""
    return f"{c.metric.part}: {c.metric.name}: {told}; last good night ({good['night']}): {c.before:.5g}{spread}"
