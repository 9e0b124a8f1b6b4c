#!/usr/bin/python3
"""reproduce.py trains, evaluates and judges a whole plan on a store with gradients and outliers, small enough for a
test; goes on where it stopped; says what is missing; and refuses other settings in the same directory.
"""
import json
import os
import re
import subprocess
import sys

import h5py
import numpy as np

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ANALYSIS = os.path.join(HERE, "..", "analysis")
sys.path[:0] = [os.path.join(HERE, "oracle"), ANALYSIS]
import program
import tap
import trained

ROWS, D, OUTLIERS = 1500, 24, 5
SIZES = ["--latents", "64", "--ks", "2,4,8,16", "--k", "4", "--steps", "40"]
TRAININGS = ["topk-2", "topk-4", "topk-8", "topk-16", "hierarchical-16", "multi-4", "batch-4", "matryoshka-4",
             "gradients-topk-4", "gradients-gsae-4"]
CLAIMS = ("max_cos", "Small prefixes", "small cost", "within 0.01", "falls away", "flattens", "first_order_r2")


def make_store(path):
    """Planted rows with gradients beside them; OUTLIERS of the held-out rows are a hundred times as long."""
    rows = trained.planted_rows(ROWS, D)
    rows[-2 * OUTLIERS::2] *= 100
    program.write_store(path, rows)
    gradients = np.random.default_rng(9).normal(size=(ROWS, D)).astype(np.float32)
    with h5py.File(path, "a") as file:
        data = file.create_dataset("gradients/test", data=gradients)
        data.attrs["rms_norm"] = np.sqrt(np.mean(np.sum(gradients.astype(np.float64) ** 2, axis=1)))


def reproduce(store, out, *options):
    """(exit status, what it said on stdout and stderr)."""
    command = [sys.executable, os.path.join(ANALYSIS, "reproduce.py"), "--data", store, "--out", out, *SIZES, *options]
    environment = {**os.environ, "HPSAE": program.PROGRAM, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False,
                          timeout=240 * program.SLOWER)
    return done.returncode, done.stdout, done.stderr


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def check_page(out):
    page = read(out, "REPORT.md")
    for name in TRAININGS:
        tap.check(re.search(rf"^\| {name} \| 1 \| 0?[-.0-9]+", page, re.M), f"{name} is in the table", page)
    rows = [line for line in page.splitlines() if line.startswith("| ") and line.endswith("|")]
    for claim in CLAIMS:
        judged = [row for row in rows if claim in row and re.search(r"\| (\*\*)?(agrees|does not)[^|]*\|$", row)]
        tap.check(len(judged) == 1, f"judged: {claim}", page)
    tap.check("**Not complete:**" not in page and f"{OUTLIERS} of them outliers" in page, "what it was made from", page)
    evaluation = json.loads(read(out, "topk-4", "seed-1", "plain", "eval.json"))
    tap.check(evaluation["rows"] == ROWS // 10 - OUTLIERS, "outliers are left out", evaluation["rows"])
    tap.check(f"{evaluation['ev']:.4f}" in page, "ev without outliers is in the table")
    for name in ("objectives.png", "directions.png"):
        tap.check(name in page and os.path.getsize(os.path.join(out, name)) > 10000, f"{name} is drawn and shown")


with program.Directory() as directory:
    store, out = os.path.join(directory, "store.h5"), os.path.join(directory, "out")
    make_store(store)
    status, said, err = reproduce(store, out, "--seeds", "1")
    if tap.check(status == 0, "all of a plan is trained and judged", said + err):
        check_page(out)
    times = {name: os.path.getmtime(os.path.join(out, name, "seed-1", "run.json")) for name in TRAININGS}

    status, said, err = reproduce(store, out, "--seeds", "1,2", "--minutes", "1e-6")
    tap.check(status == 75 and f"{len(TRAININGS)} trainings are left" in said, "time over: status 75", said + err)
    page = read(out, "REPORT.md")
    tap.check("**Not complete:**" in page and "topk-2 seed 2" in page, "the page says what is missing", page)
    tap.check(all(os.path.getmtime(os.path.join(out, name, "seed-1", "run.json")) == when
                  for name, when in times.items()), "what is complete is not done again")

    status, _, err = reproduce(store, out, "--seeds", "1", "--steps", "41")
    tap.check(status == 2 and "of other data" in err and err.count("\n") == 1, "other settings: one line", err)
    status, _, err = reproduce(os.path.join(directory, "absent.h5"), os.path.join(directory, "o"), "--seeds", "1")
    tap.check(status == 2 and "absent.h5" in err and err.count("\n") == 1, "no store: one line", err)
tap.done()
