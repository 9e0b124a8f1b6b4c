#!/usr/bin/python3
"""What is wrong with a sweep, its keys, its values or one of its points, is said in one exact line with file, line and column
before anything runs, exit status 2, and nothing is written."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import refusal
import tap
import trained

BASE = """output: run
data: {store: store.h5, holdout: 100}
model: {latents: 64, k: 4}
train: {tokens: 3000, batch: 150, eval_steps: 0}
sweep:
"""
VALUES = "allowed: the values to take, [a, b, ...]"
ZIP = "allowed: keys with lists of as many values each, {a: [1, 2], b: [3, 4]}, or a list of such"
K = "allowed: integer from 1 to 2147483646"

# name, what follows `sweep:`, the line behind "c.yaml:"
FILES = [
    ("no points", "  ranks: auto\n",
     "6:10: sweep.axes: missing, and 'sweep' needs it, or sweep.zip or sweep.list; allowed: keys with lists of values, "
     "{model.k: [8, 32]}"),
    ("an unknown key", "  axes: {model.kk: [1, 2]}\n", '6:10: "model.kk": unknown key; did you mean model.k?'),
    ("an unknown key in its section", "  axes:\n    model:\n      kk: [1, 2]\n",
     '8:7: "model.kk": unknown key; did you mean model.k?'),
    ("a section for a key", "  axes: {model: [1, 2]}\n", "6:10: model: is a section; allowed: its keys, each with the values to take"),
    ("a value out of range", "  axes: {model.k: [8, 0]}\n", f'6:23: model.k: "0" is out of range; {K}'),
    ("a value of another kind", "  axes:\n    model:\n      k: [8, many]\n", f'8:14: model.k: "many" is not an integer; {K}'),
    ("a wrong word", "  axes: {train.objective: [plain, best]}\n",
     '6:35: train.objective: "best" is not known; allowed: plain | multi_topk | hierarchical | matryoshka'),
    ("a list for one value", "  axes: {model.k: [[1, 2]]}\n", f"6:20: model.k: a list, where one value is wanted; {K}"),
    ("one value, no list", "  axes: {model.k: 8}\n", f"6:19: model.k: no list; {VALUES}"),
    ("an empty axis", "  axes: {model.k: []}\n", f"6:19: model.k: an empty list; {VALUES}"),
    ("an axis given twice", "  axes: {model.k: [1], model: {k: [2]}}\n", "6:32: model.k: given twice, first in line 6; keep one"),
    ("an axis that is zipped too", "  axes: {model.k: [1]}\n  zip: {model.k: [2], train.seed: [1]}\n",
     "7:9: model.k: is an axis already; keep one"),
    ("axes given twice", "  axes: {model.k: [1]}\n  axes: {model.latents: [20]}\n", "7:3: sweep.axes: given twice; keep one"),
    ("no axes", "  axes: 3\n", "6:9: sweep.axes: is not what it must be; allowed: keys with lists of values, {model.k: [8, 32]}"),
    ("a zip of unequal lengths", "  zip: {model.k: [1, 2], train.seed: [1, 2, 3]}\n",
     "6:38: train.seed: 3 values, but model.k beside it has 2; allowed in a zip: as many each"),
    ("a zip that is none", "  zip: [8]\n", f"6:9: sweep.zip: is not what it must be; {ZIP}"),
    ("a list that is none", "  list: {model.k: [1]}\n",
     "6:9: sweep.list: is not what it must be; allowed: a list of points, each the keys with their values, "
     "[{a: 1, b: 3}, {a: 2, b: 4}]"),
    ("a listed point with a wrong value", "  list:\n    - {model.k: 2}\n    - {model.k: -2}\n",
     f'8:17: model.k: "-2" is out of range; {K}'),
    ("the job's key", "  axes: {output: [a, b]}\n",
     "6:10: output: is the same for all points; allowed in a sweep: keys of one training"),
    ("a key of another command", "  axes: {synth.rows: [1, 2]}\n",
     "6:10: synth.rows: no training depends on it; allowed in a sweep: keys of 'hpsae train --help-config'"),
    ("a point in conflict with itself", "  axes: {model.latents: [64, 16], model.k: [8, 32]}\n",
     "6:48: model.k: 32 is more than model.latents, 16; allowed: at most that many (point latents16_k32)"),
    ("a listed point in conflict with the file", "  list: [{model.latents: 3}]\n",
     "3:25: model.k: 4 is more than model.latents, 3; allowed: at most that many (point latents3)"),
    ("the same point twice", "  axes: {model.k: [8, 8]}\n", "6:9: sweep: the point k8 is given twice; keep one"),
    ("more points than can be", "  axes:\n" + "".join(f"    {key}: [{', '.join(map(str, range(1, 101)))}]\n"
                                                     for key in ("train.seed", "train.warmup_steps", "train.sample")),
     "7:5: sweep: more points than can be; allowed: at most 100000"),
    ("an ensemble", "  axes: {model.k: [8, 2]}\nensemble: {method: bagging, members: 2}\n",
     "7:20: ensemble.method: a point of a sweep is one dictionary; allowed: none, and sweep train.weight_seed"),
    ("data groups by the ranks", "  axes: {train.groups: [1, auto]}\n",
     "6:28: train.groups: auto, but the bits of a point must not depend on the ranks that it gets; allowed: a number "
     "(point groups-auto)"),
    ("no held-out rows", "  axes: {data.holdout: [100, 0]}\n",
     "1:1: eval.rows: there are no held-out rows, data.holdout is 0; allowed then: train | all (point holdout0)"),
    ("a store that is not there", "  axes: {data.store: [store.h5, none.h5]}\n", None),
    ("more data groups than ranks", "  axes: {train.groups: [1, 5]}\n", None),
]
LATE = {"a store that is not there": "none.h5: cannot be opened: No such file or directory (point store-none.h5)",
        "more data groups than ranks": {
            ranks: f"c.yaml:6:28: train.groups: 5, but there are {ranks} ranks; allowed: at most that, or more ranks (point groups5)"
            for ranks in (1, 3)}}
LINES = [
    ("a swept key by -s", ["-s", "model.k=3"],
     "-s model.k=3: the sweep takes values of its own for it; leave one of the two out"),
    ("a resume by hand", ["-s", "train.resume=never"],
     "-s train.resume=never: a sweep goes on where it stopped; allowed: auto"),
    ("a point beyond the last", ["--point", "2"], "--point 2: the sweep has 2 points; allowed: 0 to 1"),
    ("a point that is no number", ["--point", "first"], "--point first: allowed: a whole number from 0 to 99999"),
    ("no calibration", ["-s", "train.calibration=no.json"], "no.json:1:1: unable to open no.json: No such file or directory; name a file that `hpsae bench` wrote"),
]

with program.Directory() as directory:
    os.chdir(directory)
    trained.make_store(directory, 1500, 61)
    for name, text, line in FILES:
        with open("c.yaml", "w", encoding="utf-8") as file:
            file.write(BASE + text)
        late = name in LATE
        refusal.check(name, ["sweep", "c.yaml"], LATE[name] if late else f"c.yaml:{line}", (1, 3) if late else (1,))
    with open("c.yaml", "w", encoding="utf-8") as file:
        file.write(BASE + "  axes: {model.k: [4, 8]}\n")
    for name, arguments, line in LINES:
        refusal.check(name, ["sweep", "c.yaml", *arguments], line, (1, 3) if name == "a point beyond the last" else (1,))
    refusal.check("a point for another command", ["train", "c.yaml", "--point", "1"], "--point: only 'hpsae sweep' takes it")
    os.chdir("/")
tap.done()
