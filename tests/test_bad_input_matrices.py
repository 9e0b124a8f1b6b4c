#!/usr/bin/python3
# seconds: 900
"""What is wrong with the input of compare, pca and refit is said in one exact line, exit status 2, on 1 and 3 ranks, with
nothing half-written: grids, memory, dictionaries that do not belong together, rows, stores, places to write to."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np

import program
import refusal
import tap

FINE = """output: new
data: {store: s.h5, holdout: 50}
model: {latents: 64, k: 4}
train: {tokens: 512, batch: 128, sample: 200, eval_steps: 0}
synth: {output: s.h5, rows: 400, dim: 16, latents: 32, active: 3}
compare: {dictionaries: [run, run]}
refit: {model: run, output: new.h5}
"""
NAN_ROW = "nan.h5: row 17 of hook holds a NaN or an infinity; run `hpsae shuffle` with data.skip_bad_rows: true"


def must(command, *options):
    status, out, err = program.run(1, command, "c.yaml", *options, seconds=refusal.SECONDS)
    if status != 0:
        tap.check(False, f"{command} of the fixture", out + err)
        tap.done()


def prepare():
    with open("c.yaml", "w", encoding="utf-8") as file:
        file.write(FINE)
    must("synth")
    must("synth", "-s", "synth.output=wide.h5", "-s", "synth.dim=24")
    must("train", "-s", "output=run")
    must("train", "-s", "output=run-wide", "-s", "data.store=wide.h5")
    must("train", "-s", "output=young", "-s", "model.select=batch_topk")
    os.mkdir("nothing")
    with open("a-file", "w", encoding="utf-8"):
        pass
    rows = np.random.default_rng(1).normal(size=(400, 16)).astype(np.float32)
    with h5py.File("alike.h5", "w") as file:
        file["activations/hook"] = np.ones((400, 16), dtype=np.float32)
    rows[17, 3] = np.nan
    with h5py.File("nan.h5", "w") as file:
        file["activations/hook"] = rows


def grid_line(rows, columns, ranks):
    return (f"a process grid of {rows} x {columns} takes {rows * columns} ranks, and the job has {ranks}; set grid.rows and "
            f"grid.columns to a product of {ranks}, or to auto")


# name, command, overrides, line
CASES = [
    ("more rows of a grid than ranks", "compare", ["grid.rows=4"], {n: grid_line(4, 1, n) for n in (1, 3)}),
    ("a grid that is too large", "pca", ["grid.rows=2", "grid.columns=5"], {n: grid_line(2, 5, n) for n in (1, 3)}),
    ("columns that do not divide the ranks", "refit", ["grid.columns=2"], {n: grid_line(1, 2, n) for n in (1, 3)}),
    ("no dictionaries", "compare", ["compare.dictionaries=[]"],
     "-s compare.dictionaries=[]: an empty list; allowed: a path or a list of paths"),
    ("dictionaries of two widths", "compare", ["compare.dictionaries=[run, run-wide]"],
     "run-wide has d 24, but run has d 16; only dictionaries of one d can be compared"),
    ("a dictionary that is not there", "compare", ["compare.dictionaries=[run, none]"],
     "none: cannot be opened: No such file or directory"),
    ("a directory without checkpoints", "compare", ["compare.dictionaries=[run, nothing]"],
     "nothing: no checkpoint there (checkpoint-STEP.h5); name a run directory or a model file"),
    ("a dictionary that is a store", "compare", ["compare.dictionaries=[s.h5]"],
     "s.h5: not a model of hpsae (no attribute format = \"hpsae-model\")"),
    ("a store of another width", "compare", ["compare.store=wide.h5"],
     "run has d 16, but the store synthetic has d 24; choose the store that the model is for"),
    ("more tokens than there are", "compare", ["compare.tokens=51"],
     "-s compare.tokens=51: 51 tokens wanted, and compare.rows leaves 50 of the store's 400"),
    ("no held-out tokens", "compare", ["data.holdout=0"],
     "c.yaml:6:1: compare.rows: there are no held-out rows, data.holdout is 0; allowed then: train | all"),
    ("a dictionary without threshold", "compare", ["compare.dictionaries=[young]"],
     "young has no threshold yet: it is averaged from step train.threshold.start_step on, and this one has done 4; train "
     "further, or lower that key"),
    ("NaN among the tokens", "compare", ["compare.store=nan.h5", "compare.rows=all"],
     {1: NAN_ROW, 3: "rank 0: " + NAN_ROW}),
    ("an output below a file", "compare", ["output=a-file/new"], "a-file: is not a directory; choose another path"),
    ("no store for components", "pca", ["data.store=none.h5"], "none.h5: cannot be opened: No such file or directory"),
    ("no held-out rows for components", "pca", ["data.holdout=0"],
     "c.yaml:1:1: pca.rows: there are no held-out rows, data.holdout is 0; allowed then: train | all"),
    ("no training rows", "pca", ["data.holdout=400"],
     "c.yaml:1:1: pca.fit: there are none: data.holdout is 400 of a store of 400 rows"),
    ("rows that are all alike", "pca", ["data.store=alike.h5"],
     "hook: its 50 rows are all alike; components need rows that differ"),
    ("NaN among the rows", "pca", ["data.store=nan.h5"], {1: NAN_ROW, 3: "rank 0: " + NAN_ROW}),
    ("components below a file", "pca", ["pca.output=a-file/new.h5"], "a-file: is not a directory; choose another path"),
    ("no such model to refit", "refit", ["refit.model=none"], "none: cannot be opened: No such file or directory"),
    ("a model in its own place", "refit", ["refit.output=run"], "-s refit.output=run: is also the model; allowed: another path"),
    ("another width to refit on", "refit", ["refit.store=wide.h5"],
     "run has d 16, but the store synthetic has d 24; choose the store that the model is for"),
    ("more rows than there are to refit on", "refit", ["refit.tokens=351"],
     "-s refit.tokens=351: 351 tokens wanted, and refit.rows leaves 350 of the store's 400"),
    ("a refitted model below a file", "refit", ["refit.output=a-file/new.h5"],
     "a-file: is not a directory; choose another path"),
]


def too_little_memory():
    """The sizes in the message are the machine's (threads, kernels)."""
    for command, what in (("compare", "2 dictionaries, together 128 latents by 16"),
                          ("pca", "principal components of 16 columns"),
                          ("refit", "the normal equations of 64 latents (about N would fit)")):
        refusal.check(f"too little memory for {command}",
                      [command, "c.yaml", "-s", "grid.memory=1", "-s", "pca.batch=16777216", "-s",
                       "data.store=[s.h5, " + ", ".join(["s.h5"] * 60) + "]"],
                      {n: f"-s grid.memory=1: 1 MiB a rank are too few for {what}: on {n} ranks they take N MiB;"
                          " allow that much, or start more ranks" for n in (1, 3)},
                      anyhow=r"take [N\d]+ MiB|about [N\d]+ would")


with program.Directory() as temporary:
    os.chdir(temporary)
    prepare()
    for name, command, overrides, line in CASES:
        refusal.check(name, [command, "c.yaml", *(word for override in overrides for word in ("-s", override))], line)
    too_little_memory()
    os.chdir("/")
tap.done()
