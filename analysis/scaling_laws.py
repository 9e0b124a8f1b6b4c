#!/usr/bin/python3
"""Fits the scaling laws of Gao et al. 2024 (arXiv:2406.04093, 3) to a sweep: scaling_laws.py SWEEP_DIR [options]

Reads results.csv of `hpsae sweep` and the logs of its points; the loss is fvu of the evaluation.  Fits

    L(n, k) = exp(A + bk ln k + bn ln n + g ln k ln n) + exp(zeta + eta ln k)
    L(N) = a N^b + e    at each k, of the best setting (tokens, lr, batch) at each n
    L(C) = a C^b + e    at each k, of the least loss at each compute C in FLOP
    tokens to convergence = c_k n^t

Points held out of a first fit test the extrapolation; what the points cannot identify is named.  Writes scaling.json and
scaling.png.
"""
import argparse
import json
import os
import sys

sys.dont_write_bytecode = True

import run_files  # first: it tells which package is missing

import numpy as np

import plot_scaling
import scaling_fit
import scaling_points
from scaling_forms import FORMULAS, Data, fit_law, is_constant, part, predict, wide

# ---- the laws of a sweep ----------------------------------------------------------------------------------------

def holds_out(points, rule):
    """Whether a point is held out, by rule: "none", COLUMN=largest or COLUMN=VALUE."""
    if rule == "none":
        return lambda point: False
    column, _, value = rule.partition("=")
    if not value or column not in points[0].row:
        raise run_files.Unusable(f"--hold-out {rule}: must be none, COLUMN=largest or COLUMN=VALUE with a column of results.csv")
    if value == "largest":
        try:
            value = max((p.row[column] for p in points), key=float)
        except ValueError as problem:
            raise run_files.Unusable(f"--hold-out {rule}: {column} holds what is no number") from problem
    return lambda point: scaling_points.same(point.row[column], value)


def data_of(x, y, held):
    return Data({name: np.array(values, dtype=float) for name, values in x.items()}, np.array(y, dtype=float),
                np.array(held, dtype=bool))


def losses(points, held, names):
    return data_of({name: [getattr(p, name) for p in points] for name in names}, [p.loss for p in points],
                   [held(p) for p in points])


def compute_data(points, held):
    """The frontier; what lies beyond that of the points not held out is the test."""
    states = scaling_points.frontier([p for p in points if not held(p)])
    reached = max((flops for flops, _, _ in states), default=0)
    beyond = [s for s in scaling_points.frontier(points) if held(s[2]) and s[0] > reached]
    states += beyond
    return data_of({"C": [s[0] for s in states]}, [s[1] for s in states], [held(s[2]) for s in states])


def convergence_data(points, held, within):
    """(Data of tokens to convergence, warnings)."""
    logged = [(p, scaling_points.settled(p.held, within)) for p in points if p.held]
    known = [(p, tokens) for p, tokens in logged if tokens is not None]
    warnings = []
    if len(known) < len(points):
        warnings.append(f"{len(points) - len(known)} of {len(points)} points do not tell when they converged: no held-out "
                        "losses in metrics.jsonl (train.eval_steps), or too few")
    late = [p for p, tokens in known if tokens > 0.8 * p.tokens]
    if late:
        warnings.append(f"{len(late)} of {len(known)} points still improve in the last fifth of their tokens: t tells of "
                        "their budget and the decay of lr, not of convergence")
    data = data_of({"n": [p.n for p, _ in known], "k": [p.k for p, _ in known]}, [t for _, t in known],
                   [held(p) for p, _ in known])
    return data, warnings


def laws_of(points, options):
    """Every Law of the points of a sweep."""
    held, chosen = holds_out(points, options.hold_out), scaling_points.best(points)
    ks = sorted({p.k for p in points})
    laws = [fit_law("joint", None, losses(chosen, held, ("n", "k")), options)]
    laws += [fit_law("size", k, losses([p for p in chosen if p.k == k], held, ("n",)), options) for k in ks]
    laws += [fit_law("compute", k, compute_data([p for p in points if p.k == k], held), options) for k in ks]
    data, warnings = convergence_data(chosen, held, options.within)
    law = fit_law("convergence", None, data, options)
    return [*laws, law._replace(warnings=warnings + law.warnings)]


# ---- what is told -----------------------------------------------------------------------------------------------

def parameters(law):
    """{name: value, interval, whether it is identified}, in the formula's own units."""
    low, high = scaling_fit.interval(law.fit.draws)
    told, lost = {}, wide(law.fit)
    for name, *values in zip(law.fit.names, law.fit.values, low, high):
        if name in ("a", "e") or is_constant(name):
            values = np.exp(values)
        told[name] = {"value": float(values[0]), "low": float(values[1]), "high": float(values[2]),
                      "identified": name not in lost}
    return told


def test_of(law):
    """What the points held out say of the fit without them; None where there is none."""
    if law.tested is None:
        return None
    held = part(law.data, law.data.held)
    value, low, high = predict(law, law.tested, held.x, noise=True)
    error = np.abs(value / held.y - 1)
    return {"points": len(held.y), "mean_error": float(error.mean()), "max_error": float(error.max()),
            "inside": int(np.sum((low <= held.y) & (held.y <= high))),
            "predicted": [{**{name: float(v[i]) for name, v in held.x.items()}, "measured": float(held.y[i]),
                           "predicted": float(value[i]), "low": float(low[i]), "high": float(high[i])}
                          for i in range(len(held.y))]}


def told(law):
    """A law as an object for scaling.json."""
    about = {"law": law.kind, "formula": FORMULAS[law.kind], "k": law.k, "points": len(law.data.y),
             "values": {name: sorted(set(map(float, values))) for name, values in law.data.x.items()}}
    if law.fit is not None:
        about.update({"parameters": parameters(law), "level": scaling_fit.LEVEL,
                      "condition": law.fit.condition if np.isfinite(law.fit.condition) else None,
                      "rms_residual": float(np.sqrt(np.mean(law.fit.residuals**2))), "held_out": test_of(law)})
    return {**about, "warnings": law.warnings}


def describe(about, rule):
    """Lines for people on one law of scaling.json."""
    at = f" at k {about['k']:g}" if about["k"] is not None else ""
    lines = [f"{about['formula']}{at}: {about['points']} points"]
    for name, p in about.get("parameters", {}).items():
        lines.append(f"  {name:<6} {p['value']:>10.4g}   {100 * about['level']:.0f} %: {p['low']:.4g} to {p['high']:.4g}"
                     + ("" if p["identified"] else "   not identified"))
    test = about.get("held_out")
    if test:
        lines.append(f"  held out ({rule}): {test['points']} points, error {100 * test['mean_error']:.2f} % on average, "
                     f"{100 * test['max_error']:.2f} % at most; {test['inside']} inside the band")
    return lines + [f"  warning: {warning}" for warning in about["warnings"]]


def write_json(path, content):
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    os.replace(path + ".tmp", path)


def pair(text):
    column, sign, value = text.partition("=")
    if not sign or not column:
        raise argparse.ArgumentTypeError(f"'{text}' is not COLUMN=VALUE")
    return column, value


def share(text):
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        raise run_files.Unusable(message)


def read_options(arguments):
    parser = Parser(prog="scaling_laws.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", metavar="SWEEP_DIR")
    parser.add_argument("--where", type=pair, action="append", default=[], metavar="COLUMN=VALUE",
                        help="only such points, for a sweep over more than n, k and settings")
    parser.add_argument("--hold-out", default="latents=largest", metavar="COLUMN=VALUE",
                        help="points that test the extrapolation; VALUE may be largest; none: no test")
    parser.add_argument("--within", type=share, default=0.01, help="of its last value: a held-out loss has converged")
    parser.add_argument("--huber", type=share, default=0.01, help="residual of ln L beyond which the loss grows linearly")
    parser.add_argument("--draws", type=int, default=200, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    parser.add_argument("--out", help="directory to write to; else the sweep's")
    options = parser.parse_args(arguments)
    if options.draws < 20:
        raise run_files.Unusable("--draws must be 20 or more")
    options.where = dict(options.where)
    options.out = options.out or options.sweep
    return options


def body(arguments):
    options = read_options(arguments)
    points, rows = scaling_points.read_points(options.sweep, options.where)
    laws = laws_of(points, options)
    os.makedirs(options.out, exist_ok=True)
    content = {"format": "hpsae-scaling", "format_version": 1, "loss": "fvu", "rows": rows, "points": len(points),
               "where": options.where, "hold_out": options.hold_out, "within": options.within, "huber": options.huber,
               "draws": options.draws, "seed": options.seed, "laws": [told(law) for law in laws]}
    write_json(os.path.join(options.out, "scaling.json"), content)
    print(f"{len(points)} of {rows} points are complete and chosen; loss: fvu")
    for about in content["laws"]:
        print("\n".join(["", *describe(about, options.hold_out)]))
    plot_scaling.draw(laws, os.path.join(options.out, "scaling.png"), os.path.basename(os.path.abspath(options.sweep)))
    print(f"\nwrote {os.path.join(options.out, 'scaling.json')} and scaling.png")


if __name__ == "__main__":
    run_files.main(body)
