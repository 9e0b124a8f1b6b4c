#!/usr/bin/python3
"""Selections and objectives that contradict themselves, one another or the store are refused in one exact line, exit
status 2, and nothing is left behind: configurations on one rank, files on 1 and 3."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np

import program
import refusal
import tap

BATCH_ONLY = "counts the latents of one token, but model.select batch_topk fixes no number a token; allowed with it: " \
             "plain | matryoshka"

INTEGERS = "allowed: a list of integers, each at least 1"
SIZES = "sizes, but from train.matryoshka.smallest, {}, to model.latents, 64, there are fewer; allowed: at most that " \
        "many"

# name, what the sections model and train have more, the value or section that the line points at, the line behind it
CONFIGURATIONS = [
    ("prefixes not increasing", "", "objective: matryoshka, matryoshka: {prefixes: [8, 8, 64]}", "[8, 8, 64]",
     "train.matryoshka.prefixes: 8 follows 8; allowed: each larger than the one before"),
    ("prefixes that do not end at n", "", "objective: matryoshka, matryoshka: {prefixes: [8, 32]}", "[8, 32]",
     "train.matryoshka.prefixes: ends at 32; the last must be model.latents, 64"),
    ("prefixes beyond n", "", "objective: matryoshka, matryoshka: {prefixes: [8, 65]}", "[8, 65]",
     "train.matryoshka.prefixes: ends at 65; the last must be model.latents, 64"),
    ("a prefix of 0", "", "objective: matryoshka, matryoshka: {prefixes: [0, 64]}", "[0, 64]",
     f'train.matryoshka.prefixes: "0" is out of range; {INTEGERS}'),
    ("a word among the prefixes", "", "objective: matryoshka, matryoshka: {prefixes: [8, all]}", "[8, all]",
     f'train.matryoshka.prefixes: "all" is not an integer; {INTEGERS}'),
    ("too many prefixes", "", f"objective: matryoshka, matryoshka: {{prefixes: {list(range(1, 34))}}}", "[1, 2, 3",
     "train.matryoshka.prefixes: 33 sizes; allowed: at most 32"),
    ("fixed and drawn prefixes", "", "objective: matryoshka, matryoshka: {prefixes: [8, 64], random: 2}", "2}",
     "train.matryoshka.random: 2, and train.matryoshka.prefixes names fixed sizes; allowed: one of the two"),
    ("more drawn prefixes than lengths", "", "objective: matryoshka, matryoshka: {random: 4, smallest: 62}", "4, small",
     "train.matryoshka.random: 4 " + SIZES.format(62)),
    ("a smallest prefix above n", "", "objective: matryoshka, matryoshka: {random: 2, smallest: 65}", "2, small",
     "train.matryoshka.random: 2 " + SIZES.format(65)),
    ("no default prefixes", "latents: 31", "objective: matryoshka", "train:",
     "train.matryoshka.prefixes: the default, n/32 and so on, is none for model.latents 31; name the sizes"),
    ("levels not increasing", "", "objective: hierarchical, hierarchical: {levels: [2, 1, 4]}", "[2, 1, 4]",
     "train.hierarchical.levels: 1 follows 2; allowed: each larger than the one before"),
    ("levels that do not end at k", "", "objective: hierarchical, hierarchical: {levels: [1, 3]}", "[1, 3]",
     "train.hierarchical.levels: ends at 3; the last must be model.k, 4"),
    ("fixed levels and a k that changes", "",
     "objective: hierarchical, hierarchical: {levels: [1, 4]}, k_start: 8, k_steps: 2", "2}",
     "train.k_steps: 2 changes k, and train.hierarchical.levels are fixed; allowed: 0, or levels []"),
    ("more latents than there are", "", "objective: multi_topk, multi: {factor: 17}", "17}",
     "train.multi.factor: 17 times k, 4, is more than model.latents, 64; allowed: at most that many"),
    ("more latents than there are, at the start", "", "objective: multi_topk, k_start: 17, k_steps: 2", "train:",
     "train.multi.factor: 4 times k, 17, is more than model.latents, 64; allowed: at most that many"),
    ("a first k above n", "", "k_start: 65, k_steps: 2", "65,",
     "train.k_start: 65 is more than model.latents, 64; allowed: at most that many"),
    ("hierarchical of a batch", "select: batch_topk", "objective: hierarchical", "hierarchical",
     f"train.objective: {BATCH_ONLY}"),
    ("multi_topk of a batch", "select: batch_topk", "objective: multi_topk", "multi_topk",
     f"train.objective: {BATCH_ONLY}"),
    ("an unknown objective", "", "objective: nested", "nested",
     'train.objective: "nested" is not known; allowed: plain | multi_topk | hierarchical | matryoshka'),
    ("an unknown selection", "select: batchtopk", "", "batchtopk",
     'model.select: "batchtopk" is not known; allowed: topk | batch_topk | gradient'),
    ("a negative beta", "select: gradient, beta: -1", "", "-1",
     'model.beta: "-1" is out of range; allowed: number at least 0'),
]


def place_of(value, text):
    """line:column of a value in a text, both from 1."""
    before = text[:text.index(value)]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def check_configurations():
    for name, model, train, value, line in CONFIGURATIONS:
        sizes = "k: 4" if model.startswith("latents") else "latents: 64, k: 4"
        model, train = (", ".join(filter(None, parts)) for parts in ((sizes, model), ("tokens: 512, batch: 128", train)))
        text = f"output: run\ndata: {{store: s.h5, holdout: 50}}\nmodel: {{{model}}}\ntrain: {{{train}}}\n"
        with open("c.yaml", "w", encoding="utf-8") as file:
            file.write(text)
        refusal.check(name, ["train", "c.yaml"], f"c.yaml:{place_of(value, text)}: {line}", ranks=(1,))


def change(name, action):
    """A store like the good one, then changed by action(file)."""
    program.write_store(name, ROWS, gradients=GRADIENTS)
    with h5py.File(name, "r+") as file:
        action(file)


def other_gradients(rows, columns):
    def action(file):
        del file["gradients/test"]
        file.create_dataset("gradients/test", data=np.ones((rows, columns), dtype="f4")).attrs["rms_norm"] = 4.0
    return action


ROWS = np.random.default_rng(1).normal(size=(400, 16)).astype(np.float32)
GRADIENTS = np.random.default_rng(2).normal(size=(400, 16)).astype(np.float32)


def spoil(file):
    file["gradients/test"][17, 3] = np.nan


def prepare():
    change("fine.h5", lambda file: None)
    change("none.h5", lambda file: file.__delitem__("gradients"))
    change("other-hook.h5", lambda file: file.move("gradients/test", "gradients/another"))
    change("fewer.h5", other_gradients(399, 16))
    change("narrow.h5", other_gradients(400, 15))
    change("no-norm.h5", lambda file: file["gradients/test"].attrs.__delitem__("rms_norm"))
    change("zero-norm.h5", lambda file: file["gradients/test"].attrs.__setitem__("rms_norm", 0.0))
    change("nan.h5", spoil)
    with open("c.yaml", "w", encoding="utf-8") as file:
        file.write("output: run\ndata: {store: fine.h5, holdout: 50, scale: dataset}\n"
                   "model: {latents: 64, k: 4, select: gradient}\n"
                   "train: {tokens: 512, batch: 128, sample: 200, eval_steps: 0}\n"
                   "export: {model: half}\nencode: {model: half, output: codes.h5}\n")
    status, out, err = program.run(1, "train", "c.yaml", "-s", "output=half", "-s", "model.select=batch_topk")
    tap.check(status == 0, "a run that ends before its threshold", out + err)


NO_GRADIENTS = "c.yaml:3:36: model.select: gradient needs dL/dx beside the activations, and the store has no " \
               "/gradients/test; allowed with it: topk | batch_topk"
NO_NORM = "no attribute rms_norm above 0, the root mean square of its rows' norms; write it"
NO_THRESHOLD = "no threshold yet: it is averaged from step train.threshold.start_step on, and this one has done 4; " \
               "train further, or lower that key"
NAN_ROW = "nan.h5: row 17 of /gradients/test holds a NaN or an infinity; run `hpsae shuffle` with " \
          "data.skip_bad_rows: true"

# name, command, overrides, line, paths that may appear
FILES = [
    ("select gradient without gradients", "train", ["data.store=none.h5"], NO_GRADIENTS, ()),
    ("gradients of another hook", "train", ["data.store=other-hook.h5"], NO_GRADIENTS, ()),
    ("fewer rows of gradients", "train", ["data.store=fewer.h5"],
     "fewer.h5: /gradients/test is 399 rows of 16 columns, but the activations are 400 of 16; write both for the same "
     "tokens", ()),
    ("gradients of another width", "train", ["data.store=narrow.h5"],
     "narrow.h5: /gradients/test is 400 rows of 15 columns, but the activations are 400 of 16; write both for the same "
     "tokens", ()),
    ("gradients without their norm", "train", ["data.store=no-norm.h5"], "no-norm.h5: /gradients/test has " + NO_NORM,
     ()),
    ("gradients that are all zero", "train", ["data.store=zero-norm.h5"],
     "zero-norm.h5: /gradients/test has " + NO_NORM, ()),
    ("a gradient that is not finite", "train", ["data.store=nan.h5", "output=new"],
     {1: NAN_ROW, 3: "rank 1: " + NAN_ROW},
     ("./new", "./new/run.json", "./new/used.yaml", "./new/metrics.jsonl")),
    ("gradients and scaled tokens", "train", ["data.scale=token"],
     "-s data.scale=token: token changes the activations row by row, and model.select gradient has the gradients of "
     "the unchanged ones; allowed with it: none | dataset", ()),
    ("an export without a threshold", "export", [], "the model has " + NO_THRESHOLD, ()),
    ("codes without a threshold", "encode", [], "half has " + NO_THRESHOLD, ()),
]



def check_half_trained():
    """What can be had without a threshold is, with a word about it."""
    status, out, err = program.run(1, "eval", "c.yaml", "-s", "eval.model=half", "--json")
    tap.check(status == 0 and "the model has no threshold yet (train.threshold.start_step): latents are selected over "
              "batches" in out + err, "an evaluation without a threshold says what it does instead", out + err)


with program.Directory() as directory:
    os.chdir(directory)
    check_configurations()
    prepare()
    for title, command, overrides, wanted, leaves in FILES:
        options = [word for override in overrides for word in ("-s", override)]
        refusal.check(title, [command, "c.yaml", *options], wanted, leaves=leaves)
    check_half_trained()
    os.chdir("/")
tap.done()
