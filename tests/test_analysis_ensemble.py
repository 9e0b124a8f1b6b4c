#!/usr/bin/python3
"""plot_ensemble.py draws ev, fvu and, where it is known, stability against J; takes the sizes below an ensemble's own
from its evaluation, joins seeds and counts none twice, and says in one line what it cannot draw."""
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ANALYSIS = os.path.join(HERE, "..", "analysis")
sys.path[:0] = [os.path.join(HERE, "oracle"), ANALYSIS]
import numpy as np
import plot_ensemble
import program
import tap

N, SIZES = 64, (1, 2, 4)
FALL = {"bagging": 0.2, "boosting": 0.9, "single": 0.5}


def plot(*arguments):
    command = [sys.executable, os.path.join(ANALYSIS, "plot_ensemble.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def ev_of(method, size, seed):
    return 1 - 0.3 / size ** FALL[method] + 0.001 * seed


def write(directory, name, what):
    run = os.path.join(directory, name)
    os.makedirs(run, exist_ok=True)
    with open(os.path.join(run, "compare.json" if "dictionaries" in what else "eval.json"), "w", encoding="utf-8") as file:
        json.dump(what, file)
    return run


def write_evaluation(directory, method, size, seed):
    name = f"{method}-{size}-{seed}"
    found = {"model": name, "latents": size * N, "ev": ev_of(method, size, seed), "checksum": name}
    if method != "single":
        members = range(1, size + 1)
        found.update({"ensemble": method, "members": size,
                      "member": [{"latents": N, "checksum": f"{method} {seed} {j}"} for j in members],
                      "ev_at_k": {"members": list(members), "ev": [ev_of(method, j, seed) for j in members]}})
    return write(directory, name, found)


def write_comparison(directory, method, size):
    names = [f"{method}-{size}-{seed}" for seed in (1, 2)]
    return write(directory, f"compare-{method}-{size}",
                 {"stability": 0.7, "stability_floor": 0.1 + 0.01 * size,
                  "dictionaries": [{"model": name, "stability": 0.7 - 0.1 * i} for i, name in enumerate(names)]})


def panels(path):
    """Width, height and the number of panels: stretches of columns that carry colour, with white between."""
    import matplotlib.image
    image = matplotlib.image.imread(path)[..., :3]
    height, width = image.shape[:2]
    coloured = (image.max(axis=2) - image.min(axis=2) > 0.3)[int(0.15 * height):].any(axis=0)
    edges = np.flatnonzero(coloured)
    return width, height, (int(np.sum(np.diff(edges) > 0.06 * width / 2)) if len(edges) else -1) + 1


with program.Directory() as directory:
    largest = [write_evaluation(directory, method, 4, seed) for method in ("bagging", "boosting") for seed in (1, 2)]
    smaller = [write_evaluation(directory, method, 2, seed) for method in ("bagging", "boosting") for seed in (1, 2)]
    single = [write_evaluation(directory, "single", size, seed) for size in SIZES for seed in (1, 2)]
    compared = [write_comparison(directory, method, size) for method, size in
                (("bagging", 4), ("bagging", 2), ("boosting", 4), ("single", 1), ("single", 4))]
    out = os.path.join(directory, "all.png")

    for label, files, wanted in (("evaluations", [*largest, *single], 2),
                                 ("evaluations and comparisons", [*largest, *smaller, *single, *compared], 3)):
        status, said = plot(*files, "-o", out)
        if tap.check(status == 0 and not os.path.exists(out + ".tmp"), f"{label} are drawn", said):
            width, height, count = panels(out)
            tap.check(width >= 1400 and height >= 700 and count == wanted, f"{label}: {wanted} panels", (width, count))

    found = plot_ensemble.collect(*plot_ensemble.read_inputs([*largest, *smaller, *single, *compared]))
    tap.check(all(set(found.ev[method]) >= {1, 2, 4} and all(len(evs) == 2 for evs in found.ev[method].values())
                  for method in plot_ensemble.METHODS), "every size of every seed, once", found.ev)
    tap.check(np.allclose(sorted(found.ev["boosting"][3]), [ev_of("boosting", 3, s) for s in (1, 2)])
              and np.allclose(np.add(found.ev["single"][4], found.fvu["single"][4]), 1), "the figures are those of the files")
    tap.check(found.stability["bagging"] == {4: [0.7, 0.6], 2: [0.7, 0.6]} and abs(found.floor[2] - 0.12) < 1e-12,
              "stability goes where its dictionaries were evaluated", found)

    odd = write(directory, "odd", {"model": "odd", "latents": 100, "ev": 0.5, "checksum": "odd"})
    other = write(directory, "other", {"step": 3})
    bare = os.path.join(directory, "bare")
    os.makedirs(bare)
    for arguments, wanted in (([bare], "run hpsae eval first"), ([], "usage: "), ([single[0], "-o"], "usage: "),
                              ([largest[0], odd], "not a multiple"), ([other], "neither what"),
                              ([largest[0], compared[0]], "name the eval.json of each"), ([compared[0]], "nothing to draw")):
        status, said = plot(*arguments)
        tap.check(status == 2 and wanted in said and said.count("\n") == 1, f"{wanted}: one line, status 2", said)
tap.done()
