#!/usr/bin/python3
"""demo_table.py prints the PCA floor of the rows that the run held out, and tells equal checksums from different ones.

The floor is checked against a singular value decomposition written out here; the store is in bfloat16 words.
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
sys.path.insert(0, os.path.join(HERE, "oracle"))
import program
import tap

SCRIPT = os.path.join(HERE, "..", "analysis", "demo_table.py")
ROWS, HELD_OUT, D = 400, 80, 12


def table(*arguments):
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def write_words(path):
    """A store of bfloat16 words; returns its rows as the numbers that they stand for."""
    rng = np.random.default_rng(5)
    rows = (rng.normal(size=(ROWS, D)) @ np.diag(np.linspace(3, 0.2, D)) + 1.0).astype(np.float32)
    words = (rows.view(np.uint32) >> 16).astype(np.uint16)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("activations/layer", data=words)
        data.attrs["logical_dtype"] = "bfloat16"
    return (words.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def write_run(directory, store, ranks, checksums):
    os.makedirs(directory)
    records = [{"step": s, "tokens": 64 * s, "tokens_per_s": 1000.0 * s, "checksum": c} for s, c in checksums.items()]
    used = f'output: {directory}\ndata:\n    store: "{store}"\n    holdout: {HELD_OUT}\n    scale: dataset\n' \
           "model:\n    latents: 4096\n    k: 4\n"
    contents = {"metrics.jsonl": "".join(json.dumps(r) + "\n" for r in records), "used.yaml": used,
                "run.json": json.dumps({"ranks": ranks}),
                "eval.json": json.dumps({"ev": 0.87654, "l0": 2.6, "dead": 0.0125})}
    for name, text in contents.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)
    return directory


def pca_ev(train, heldout, rank):
    mean = train.mean(axis=0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:rank]
    rebuilt = mean + (heldout - mean) @ axes.T @ axes
    return 1 - np.sum((heldout - rebuilt) ** 2) / np.sum((heldout - heldout.mean(axis=0)) ** 2)


with program.Directory() as directory:
    store = os.path.join(directory, "store, one.h5")
    rows = write_words(store)
    two = write_run(os.path.join(directory, "two"), store, 2, {10: "ab", 20: "cd", 30: "ef"})
    one = write_run(os.path.join(directory, "one"), store, 1, {10: "ab", 20: "cd"})
    other = write_run(os.path.join(directory, "other"), store, 1, {10: "ab", 20: "ce", 30: "ef"})

    status, out, err = table(two, one)
    tap.check(status == 0 and not err, "a table is printed", err)
    for rank in (3, 4):
        expected = pca_ev(rows[:-HELD_OUT], rows[-HELD_OUT:], rank)
        found = re.search(rf"rank {rank} +(\S+)", out)
        tap.check(found and abs(float(found[1]) - expected) < 6e-5, f"PCA of rank {rank} on the held-out rows",
                  f"expected {expected}\n{out}")
    for wanted in ("320 rows to train on, 80 held out", "0.8765", "L0, active latents a token", "1.25 %", "20,000",
                   "checksum at step 20, 2 ranks", "cd", "the same"):
        tap.check(wanted in out, f"the table says {wanted}", out)

    status, out, _ = table(two, other)
    tap.check(status == 1 and "DIFFERENT from step 20 on" in out, "different checksums are named, status 1", out)
    os.remove(os.path.join(two, "eval.json"))
    status, out, err = table(two)
    tap.check(status == 2 and "run hpsae eval first" in err and err.count("\n") == 1, "what is missing: one line", err)
tap.done()
