#!/usr/bin/python3
"""plot_objectives.py draws a panel for each thing that the runs' evaluations know, joins seeds of one training, and
says in one line what it cannot draw."""
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ANALYSIS = os.path.join(HERE, "..", "analysis")
sys.path[:0] = [os.path.join(HERE, "oracle"), ANALYSIS]
import numpy as np
import plot_objectives
import program
import tap

KS = (8, 16, 32, 64, 128)


def plot(*arguments):
    command = [sys.executable, os.path.join(ANALYSIS, "plot_objectives.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def write_run(directory, name, select, objective, k, prefixes=(), shift=0.0):
    """A run whose curve peaks, for TopK, near the k that it was trained for."""
    run = os.path.join(directory, name)
    os.makedirs(run)
    sizes = [2**i for i in range(10) if 2**i <= 4 * k]
    fall = 0.01 if objective == "plain" else 0.0
    evs = [0.95 - 0.5 / (1 + s) - fall * abs(np.log2(s / k)) + shift for s in sizes]
    evaluation = {"ev": evs[sizes.index(k)], "l0": float(k), "ev_at_k": {"k": sizes, "ev": evs}}
    if prefixes:
        evaluation["prefix_ev"] = {"prefix": list(prefixes), "ev": [0.3 + 0.1 * i for i in range(len(prefixes))]}
    with open(os.path.join(run, "eval.json"), "w", encoding="utf-8") as file:
        json.dump(evaluation, file)
    with open(os.path.join(run, "used.yaml"), "w", encoding="utf-8") as file:
        file.write(f"model:\n    latents: 2048\n    k: {k}\n    select: {select}\ntrain:\n    objective: {objective}\n")
    return run


def panels(path):
    """Panels of a picture: stretches of columns that carry colour, with white between."""
    import matplotlib.image
    image = matplotlib.image.imread(path)[..., :3]
    height, width = image.shape[:2]
    coloured = (image.max(axis=2) - image.min(axis=2) > 0.3)[int(0.15 * height):].any(axis=0)
    edges = np.flatnonzero(coloured)
    gaps = int(np.sum(np.diff(edges) > 0.06 * width / 2)) if len(edges) else -1
    return width, height, gaps + 1


with program.Directory() as directory:
    topk = [write_run(directory, f"topk-{k}-{s}", "topk", "plain", k, shift=0.002 * s) for k in KS for s in (1, 2)]
    hierarchical = write_run(directory, "hierarchical", "topk", "hierarchical", 128)
    multi = write_run(directory, "multi", "topk", "multi_topk", 32)
    batch = write_run(directory, "batch", "batch_topk", "plain", 32)
    matryoshka = write_run(directory, "matryoshka", "batch_topk", "matryoshka", 32, (64, 192, 448, 960, 2048))
    out = os.path.join(directory, "all.png")

    status, said = plot(*topk, hierarchical, multi, batch, matryoshka, "-o", out)
    if tap.check(status == 0, "all objectives on one picture", said):
        width, height, count = panels(out)
        tap.check(width >= 1800 and height >= 700, "fit for a slide", f"{width} x {height}")
        tap.check(count == 3, "curves, shortfall and prefixes have a panel each", count)
    tap.check(not os.path.exists(out + ".tmp"), "nothing else is left behind")

    for label, runs, wanted in (("one run", [hierarchical], 1), ("TopK at each k", topk, 2)):
        status, said = plot(*runs, "-o", out)
        if tap.check(status == 0, f"{label} is drawn", said):
            tap.check(panels(out)[2] == wanted, f"{label}: panels where there are data", panels(out)[2])

    families = plot_objectives.read_families(topk + [hierarchical])
    tap.check([f.k for f in families] == [*KS, 128] and all(len(f.ev) == 2 for f in families[:5]),
              "seeds of one training are one family", families)
    own = plot_objectives.trained_at(families)
    first = families[0].curve
    tap.check(np.allclose(plot_objectives.shortfall(first, own)[32], np.array(first[32]) - np.mean(own[32])),
              "the shortfall is that against TopK trained at k")

    bare = os.path.join(directory, "bare")
    os.makedirs(bare)
    for arguments, wanted in (([bare], "run hpsae eval first"), ([], "usage: "), ([matryoshka, "-o"], "usage: ")):
        status, said = plot(*arguments)
        tap.check(status == 2 and wanted in said and said.count("\n") == 1, f"{wanted}: one line, status 2", said)
tap.done()
