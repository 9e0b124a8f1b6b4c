#!/usr/bin/python3
"""Draws what ensembles explain, and how stable they are, against their size: plot_ensemble.py FILE... [-o OUT.png]

FILE: eval.json of `hpsae eval`, of ensembles and of single dictionaries that are as large as so many members, and
compare.json of `hpsae compare` between seeds of one of them.  A directory stands for the files of those names in it.
Seeds are drawn as their mean and a band from least to largest.  Writes OUT.png (default ensemble.png) with ev, fvu and,
where a compare.json tells it, stability, of bagging, boosting and one SAE of J n latents (Gadgil, Lin, Lee,
arXiv:2505.16077, figures of explained variance and stability).
"""
import collections
import os
import sys

sys.dont_write_bytecode = True

import run_files  # first: it tells which package is missing

from matplotlib import ticker

import plot_run
from plot_objectives import draw_line
from plot_run import BLUE, GREY, ORANGE, RED, plt

METHODS = {"bagging": ("bagging of J", BLUE), "boosting": ("boosting, J stages", RED),
           "single": ("one SAE of J n latents", ORANGE)}

# What is known of the methods: {method: {J: [of each seed]}}; `floor` is the stability of random rows, by J of any method.
Found = collections.namedtuple("Found", "ev fvu stability floor")


def read_inputs(paths):
    """(evaluations, comparisons) of files and of directories that hold them."""
    evaluations, comparisons = [], []
    for path in paths:
        names = [os.path.join(path, name) for name in ("eval.json", "compare.json")] if os.path.isdir(path) else [path]
        objects = [found for found in map(run_files.read_json, names) if found is not None]
        if not objects:
            raise run_files.Unusable(f"{path}: no eval.json and no compare.json there; run hpsae eval first")
        for found in objects:
            if "dictionaries" in found:
                comparisons.append(found)
            elif "ev" in found and "latents" in found:
                evaluations.append(found)
            else:
                raise run_files.Unusable(f"{path}: neither what hpsae eval nor what hpsae compare writes")
    return evaluations, comparisons


def unit_of(evaluations):
    """n, latents of one member: those of the ensembles' first ones, else of the smallest dictionary."""
    members = [e["member"][0]["latents"] for e in evaluations if "ensemble" in e]
    return min(members or [e["latents"] for e in evaluations])


def size_of(evaluation, n):
    """J: how many members it is, or as large as."""
    if "ensemble" in evaluation:
        return evaluation["members"]
    if evaluation["latents"] % n != 0:
        raise run_files.Unusable(f"{evaluation['model']}: {evaluation['latents']} latents are not a multiple of the {n} "
                                 "of a member")
    return evaluation["latents"] // n


def points_of(evaluations):
    """{(method, J, which training): ev}: of an ensemble also those of its first members, unless evaluated themselves."""
    n, prefixes, whole = unit_of(evaluations), {}, {}
    for e in evaluations:
        if "ensemble" not in e:
            whole["single", size_of(e, n), e["checksum"]] = e["ev"]
            continue
        first = e["member"][0]["checksum"]
        for size, ev in zip(e["ev_at_k"]["members"], e["ev_at_k"]["ev"]):
            prefixes[e["ensemble"], size, first] = ev
        whole[e["ensemble"], e["members"], first] = e["ev"]
    return {**prefixes, **whole}


def stabilities(evaluations, comparisons):
    """({method: {J: [stability]}}, {J: floor}) of comparisons whose dictionaries were evaluated, all of one kind."""
    n = unit_of(evaluations)
    kinds = {e["model"]: (e.get("ensemble", "single"), size_of(e, n)) for e in evaluations}
    found, floor = collections.defaultdict(dict), {}
    for c in comparisons:
        kind = {kinds.get(d["model"]) for d in c["dictionaries"]}
        if len(kind) != 1 or None in kind:
            raise run_files.Unusable("a compare.json is of " + ", ".join(d["model"] for d in c["dictionaries"])
                                     + ": name the eval.json of each, all of one method and size")
        method, size = kind.pop()
        if run_files.is_number(c["stability"]):
            found[method][size] = [d["stability"] for d in c["dictionaries"]]
            floor[size] = c["stability_floor"]
    return dict(found), floor


def collect(evaluations, comparisons):
    """A Found of all that was read."""
    if not evaluations:
        raise run_files.Unusable("nothing to draw: no eval.json among the files")
    ev, fvu = ({method: collections.defaultdict(list) for method in METHODS} for _ in range(2))
    for (method, size, _), value in sorted(points_of(evaluations).items(), key=lambda item: item[0][:2]):
        ev[method][size].append(value)
        fvu[method][size].append(1 - value)
    return Found(ev, fvu, *stabilities(evaluations, comparisons))


def sizes_axis(axis, sizes):
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(ticker.FixedLocator(sorted(set(sizes))))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(plot_run.decimal))
    axis.set_xlabel("J, members, or times n latents")


def draw_panel(axis, title, label, curves):
    axis.set_title(title)
    sizes = [size for points in curves.values() for size in points]
    for method, (name, color) in METHODS.items():
        if curves.get(method):
            draw_line(axis, curves[method], color, label=name, marker="o", markersize=6, linewidth=2.2)
    axis.set_ylabel(label)
    sizes_axis(axis, sizes)


def draw(found, out):
    """Writes the picture."""
    plt.rcParams.update(plot_run.STYLE)
    panels = 3 if found.stability else 2
    figure, axes = plt.subplots(1, panels, figsize=(6.2 * panels, 6.0), dpi=120)
    draw_panel(axes[0], "Explained variance", "held-out ev", found.ev)
    axes[0].legend(loc="lower right")
    draw_panel(axes[1], "What is left", "held-out fvu", found.fvu)
    axes[1].set_yscale("log")
    if found.stability:
        draw_panel(axes[2], "Stability between seeds", "mean largest cosine", found.stability)
        axes[2].plot(sorted(found.floor), [found.floor[size] for size in sorted(found.floor)], color=GREY,
                     linestyle=(0, (4, 2)), label="random rows")
        axes[2].set_ylim(0, 1)
        axes[2].legend(loc="best")
    figure.suptitle("Ensembles against one larger dictionary", x=0.02, ha="left", fontsize=18, fontweight="bold")
    figure.tight_layout(rect=(0.01, 0, 1, 0.96), w_pad=2.5)
    figure.savefig(out + ".tmp", format="png")
    os.replace(out + ".tmp", out)
    plt.close(figure)


def body(arguments):
    out = "ensemble.png"
    if "-o" in arguments:
        at = arguments.index("-o")
        out, arguments = (arguments[at + 1:at + 2] or [""])[0], arguments[:at] + arguments[at + 2:]
    if not arguments or not out or any(argument.startswith("-") for argument in arguments):
        raise run_files.Unusable("usage: plot_ensemble.py FILE... [-o OUT.png]")
    draw(collect(*read_inputs(arguments)), out)
    print(f"wrote {out}")


if __name__ == "__main__":
    run_files.main(body)
