#!/usr/bin/python3
"""Draws what dictionaries explain at every number of latents: plot_objectives.py RUN... [-o OUT.png]

Reads eval.json (of `hpsae eval`) and used.yaml of each run; runs that differ in nothing but the seed are drawn as their
mean and a band from least to largest.  Writes OUT.png (default objectives.png) with up to three panels: explained
variance against the number of latents a token, with the same weights at other k than they were trained for; how far
each falls short of a TopK dictionary trained at that k; explained variance of Matryoshka prefixes.
"""
import collections
import os
import sys

sys.dont_write_bytecode = True

import run_files  # first: it tells which package is missing

import numpy as np
from matplotlib import ticker

import plot_run
from plot_run import BLUE, GREEN, GREY, ORANGE, RED, plt

PURPLE = "#7a4fa3"
NAMES = {("topk", "plain"): "TopK", ("topk", "multi_topk"): "Multi-TopK", ("topk", "hierarchical"): "HierarchicalTopK",
         ("topk", "matryoshka"): "Matryoshka TopK", ("batch_topk", "plain"): "BatchTopK",
         ("batch_topk", "matryoshka"): "Matryoshka BatchTopK", ("gradient", "plain"): "g-SAE"}
COLORS = {"TopK": ORANGE, "Multi-TopK": GREEN, "HierarchicalTopK": BLUE, "BatchTopK": RED,
          "Matryoshka BatchTopK": PURPLE, "Matryoshka TopK": PURPLE, "g-SAE": GREY}

# One or several seeds of one training: `curve` and `prefixes` are {size: [ev of each seed]}, `ev` and `l0` lists.
Family = collections.namedtuple("Family", "name k curve prefixes ev l0")


def pairs(evaluation, key):
    """A curve of an evaluation, {"<size>": [...], "ev": [...]}, as [(size, ev)]; empty where there is none."""
    curve = evaluation.get(key)
    if not isinstance(curve, dict) or "ev" not in curve:
        return []
    sizes = next((values for name, values in curve.items() if name != "ev" and isinstance(values, list)), [])
    return [(size, ev) for size, ev in zip(sizes, curve["ev"]) if run_files.is_number(ev)]


def name_of(used):
    method = (used.get("model.select", "topk"), used.get("train.objective", "plain"))
    return NAMES.get(method, " ".join(method))


def family(name, k, evaluations):
    """A Family of the evaluations of its seeds."""
    collected = []
    for key in ("ev_at_k", "prefix_ev"):
        sizes = collections.defaultdict(list)
        for evaluation in evaluations:
            for size, ev in pairs(evaluation, key):
                sizes[size].append(ev)
        collected.append(dict(sorted(sizes.items())))
    return Family(name, k, *collected, [e["ev"] for e in evaluations], [e["l0"] for e in evaluations])


def read_families(runs):
    """Runs grouped by method, k and size, in the order in which they were named."""
    groups = {}
    for run in runs:
        evaluation = run_files.read_json(os.path.join(run, "eval.json"))
        if evaluation is None:
            raise run_files.Unusable(f"{run}: no eval.json; run hpsae eval first")
        used = run_files.read_used(run)
        key = name_of(used), int(used["model.k"]), used["model.latents"]
        groups.setdefault(key, []).append(evaluation)
    return [family(name, k, evaluations) for (name, k, _), evaluations in groups.items()]


def mean(values):
    return float(np.mean(values))


def draw_line(axis, points, color, label=None, **style):
    """Mean over seeds of {size: [values]}, with a band from least to largest."""
    sizes = sorted(points)
    axis.plot(sizes, [mean(points[s]) for s in sizes], color=color, label=label, **style)
    if any(len(points[s]) > 1 for s in sizes):
        axis.fill_between(sizes, [min(points[s]) for s in sizes], [max(points[s]) for s in sizes], color=color,
                          alpha=0.15, linewidth=0)


def trained_at(families):
    """{k: [ev of each seed]} of TopK dictionaries at the k of their own training."""
    return {f.k: f.curve.get(f.k, f.ev) for f in sorted(families, key=lambda f: f.k) if f.name == "TopK"}


def sizes_axis(axis, label, sizes):
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(ticker.FixedLocator(sorted(set(sizes))))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(plot_run.decimal))
    axis.set_xlabel(label)


def powers(families, least=1):
    largest = max([max(f.curve, default=f.k) for f in families] + [least])
    return [2**i for i in range(32) if least <= 2**i <= largest]


def draw_curves(axis, families):
    axis.set_title("Explained variance at k latents a token")
    own = trained_at(families)
    labelled = False
    for f in (f for f in families if f.name == "TopK"):
        draw_line(axis, f.curve, ORANGE, alpha=0.5, linewidth=1.1, linestyle=(0, (4, 2)),
                  label=None if labelled else "a TopK dictionary used at another k")
        labelled = True
    if own:
        draw_line(axis, own, ORANGE, label="TopK trained at each k", marker="o", markersize=7, zorder=4)
    for f in families:
        label = f"{f.name}, k {f.k}"
        if f.name in ("Multi-TopK", "HierarchicalTopK"):
            draw_line(axis, f.curve, COLORS[f.name], label=label, linewidth=2.6, zorder=3)
            if f.k in f.curve:
                axis.plot(f.k, mean(f.curve[f.k]), "s", color=COLORS[f.name], markersize=7, zorder=5)
        elif f.name != "TopK":
            axis.plot(mean(f.l0), mean(f.ev), "D", color=COLORS.get(f.name, GREY), markersize=8, zorder=5, label=label)
    top = max([ev for f in families for evs in [f.ev, *f.curve.values()] for ev in evs])
    # A dictionary used far from its own k may explain less than nothing: the others decide what is shown.
    shown = [ev for evs in own.values() for ev in evs] or [min(f.ev) for f in families]
    shown += [ev for f in families for k, evs in f.curve.items() if k >= 4 and f.name != "TopK" for ev in evs]
    axis.set_ylim(min(shown) - 0.03, top + 0.02 * (1 + top))
    axis.set_xlim(left=3.6)
    axis.set_ylabel("held-out ev")
    sizes_axis(axis, "k", [k for k in powers(families) if k >= 4])
    axis.legend(loc="lower right")


def shortfall(curve, own):
    """{k: [differences]} of a curve to the mean of TopK trained at k, at the k that both know."""
    return {k: [ev - mean(own[k]) for ev in evs] for k, evs in curve.items() if k in own}


def draw_shortfall(axis, families):
    axis.set_title("Against TopK trained at that k")
    own = trained_at(families)
    differences_of = [shortfall(f.curve, own) for f in families]
    drawn = [0.0] + [d for differences in differences_of for ds in differences.values() for d in ds]
    floor = max(min(drawn) * 1.25 - 0.005, -0.25)
    for f, differences in zip(families, differences_of):
        if f.name not in ("TopK", "Multi-TopK", "HierarchicalTopK") or not differences:
            continue
        plain = f.name == "TopK"
        draw_line(axis, differences, COLORS[f.name], marker="o", markersize=4 if plain else 6,
                  alpha=0.55 if plain else 1, linewidth=1.2 if plain else 2.6)
        if plain:
            ends = [k for k in sorted(differences) if mean(differences[k]) > floor]
            end = ends[0] if f.k > sorted(own)[len(own) // 2] else ends[-1]
            axis.annotate(f"TopK {f.k}", (end, mean(differences[end])), xytext=(0, 7), textcoords="offset points",
                          ha="center", color=COLORS[f.name], fontweight="bold", fontsize=10)
    axis.axhline(0, color=GREY, linewidth=1)
    axis.axhspan(-0.01, 0, color=GREY, alpha=0.12, linewidth=0)
    axis.set_ylim(floor, max(drawn) + 0.015)
    axis.set_ylabel("difference in held-out ev (band: 0.01)")
    sizes_axis(axis, "k", sorted(own))
    axis.margins(x=0.12)  # its colours are those of the picture beside it


def draw_prefixes(axis, families):
    axis.set_title("Matryoshka: the first m latents alone")
    nested = [f for f in families if f.prefixes]
    for f in nested:
        solid = f.name.startswith("Matryoshka")
        draw_line(axis, f.prefixes, COLORS.get(f.name, PURPLE), label=f"{f.name}, k {f.k}", marker="o", markersize=6,
                  linestyle="-" if solid else (0, (4, 2)))
    for f in families:
        if f.name == "BatchTopK" and not f.prefixes:
            axis.axhline(mean(f.ev), color=RED, linestyle=(0, (4, 2)), label=f"BatchTopK, k {f.k}, all latents")
    values = [ev for f in nested for evs in f.prefixes.values() for ev in evs]
    axis.set_ylim(max(-0.1, min(values) - 0.05), max(values + [mean(f.ev) for f in nested]) + 0.05)
    axis.set_ylabel("held-out ev")
    sizes_axis(axis, "m, latents of the prefix", [m for f in nested for m in f.prefixes])
    axis.legend(loc="lower right")


def panels_of(families):
    panels = [draw_curves] if any(f.curve for f in families) else []
    if len(trained_at(families)) > 1:
        panels.append(draw_shortfall)
    if any(f.prefixes for f in families):
        panels.append(draw_prefixes)
    return panels


def draw(families, out, title):
    """Writes the picture of these families."""
    panels = panels_of(families)
    if not panels:
        raise run_files.Unusable("nothing to draw: no run has ev_at_k or prefix_ev in its eval.json")
    plt.rcParams.update(plot_run.STYLE)
    figure, axes = plt.subplots(1, len(panels), figsize=(max(8.5, 6.4 * len(panels)), 6.2), dpi=120, squeeze=False)
    for panel, axis in zip(panels, axes[0]):
        panel(axis, families)
    figure.suptitle(title, x=0.02, ha="left", fontsize=18, fontweight="bold")
    figure.tight_layout(rect=(0.01, 0, 1, 0.96), w_pad=2.5)
    figure.savefig(out + ".tmp", format="png")
    os.replace(out + ".tmp", out)
    plt.close(figure)


def body(arguments):
    out = "objectives.png"
    if "-o" in arguments:
        at = arguments.index("-o")
        out, arguments = (arguments[at + 1:at + 2] or [""])[0], arguments[:at] + arguments[at + 2:]
    if not arguments or not out or any(argument.startswith("-") for argument in arguments):
        raise run_files.Unusable("usage: plot_objectives.py RUN... [-o OUT.png]")
    draw(read_families(arguments), out, "One dictionary at every k")
    print(f"wrote {out}")


if __name__ == "__main__":
    run_files.main(body)
