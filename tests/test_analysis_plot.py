#!/usr/bin/python3
"""plot_run.py draws a full run, a run of which little is known, and says in one line what it cannot draw."""
import json
import os
import subprocess
import sys

import numpy as np

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "oracle"))
import program
import tap

SCRIPT = os.path.join(HERE, "..", "analysis", "plot_run.py")


def plot(*arguments):
    command = [sys.executable, SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def write_run(directory, records, evaluation=None):
    os.makedirs(directory)
    with open(os.path.join(directory, "metrics.jsonl"), "w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    if evaluation is not None:
        with open(os.path.join(directory, "eval.json"), "w", encoding="utf-8") as file:
            json.dump(evaluation, file)
    return directory


def full_run(directory):
    records = [{"step": s, "tokens": s * 2048, "fvu": 0.2 + 0.8 / s, "l0": 31.5, "dead": 0.1 / s, "lr": 4e-4,
                "grad_norm": 1.0 / s, "tokens_per_s": 20000.0 + s} for s in range(1, 60)]
    for record in records[9::10]:
        record["heldout_ev"] = 0.8 - 1.0 / record["step"]
    edges = np.linspace(-5, 0, 26)
    counts = np.exp(-((edges[1:] + 2.5) ** 2)) * 100
    return write_run(directory, records, {"ev": 0.79, "alive_eval": 0.98, "density": {
        "edges": edges.tolist(), "counts": counts.astype(int).tolist()}})


def pixels(path):
    import matplotlib.image
    return matplotlib.image.imread(path)


def check_picture(path, label, panels):
    """The picture is wide, and exactly the panels (of 2 x 3, by rows) that have data carry more than one colour."""
    image = pixels(path)
    height, width = image.shape[:2]
    tap.check(width >= 1600 and height >= 900, f"{label}: fit for a slide", f"{width} x {height}")
    coloured = image[..., :3].max(axis=2) - image[..., :3].min(axis=2) > 0.3
    body = coloured[int(height * 0.14):]
    seen = [bool(part.sum() > 300) for half in np.array_split(body, 2) for part in np.array_split(half, 3, axis=1)]
    tap.check(seen == panels, f"{label}: curves where there are data", f"{seen}")


with program.Directory() as directory:
    run = full_run(os.path.join(directory, "full"))
    status, said = plot(run)
    if tap.check(status == 0, "a full run is drawn", said):
        check_picture(os.path.join(run, "run.png"), "full run", [True] * 6)
    tap.check(not os.path.exists(os.path.join(run, "run.png.tmp")), "nothing else is left behind")

    run = write_run(os.path.join(directory, "bare"), [{"step": 1, "tokens": 64, "fvu": 1.5, "dead": None}])
    status, said = plot(run, os.path.join(directory, "bare.png"))
    if tap.check(status == 0, "a run of one step, without most series, is drawn", said):
        check_picture(os.path.join(directory, "bare.png"), "bare run", [True] + [False] * 5)

    for name, text, wanted in (("absent", None, "is this the directory of a run?"), ("empty", "", "has not logged"),
                               ("torn", '{"step": 1}\n{"step": 2, "tok', "metrics.jsonl:2: not an object with a step")):
        run = os.path.join(directory, name)
        if text is not None:
            write_run(run, [])
            with open(os.path.join(run, "metrics.jsonl"), "w", encoding="utf-8") as file:
                file.write(text)
        status, said = plot(run)
        tap.check(status == 2 and wanted in said and said.count("\n") == 1, f"{name}: one line, status 2", said)
tap.done()
