#!/usr/bin/python3
"""Every preset is ready to train: its keys and values are today's, on a store of its kind it starts, and makes two
steps when it is cut to the size of a test."""
import glob
import json
import os
import sys

import h5py
import numpy as np

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "oracle"), os.path.join(HERE, "..", "analysis")]
import program
import run_files
import tap
import trained

PRESETS = sorted(glob.glob(os.path.join(HERE, "..", "configs", "presets", "*.yaml")))
METHODS = {"gao2024_topk": ("topk", "plain"), "gao2024_multi_topk": ("topk", "multi_topk"),
           "bussmann2025_matryoshka": ("batch_topk", "matryoshka"), "bussmann2025_batchtopk": ("batch_topk", "plain"),
           "balagansky2025_hierarchical": ("topk", "hierarchical"), "olmo2024_gsae": ("gradient", "plain"),
           "saelens_topk": ("topk", "plain"), "sparsify_topk": ("topk", "plain"),
           "dictionary_learning_topk": ("topk", "plain")}
ROWS, D, LATENTS, K, BATCH = 1200, 24, 64, 3, 100
SMALL = {"data.holdout": 200, "model.latents": LATENTS, "model.k": K, "train.tokens": 2 * BATCH, "train.batch": BATCH,
         "train.aux.k": 8, "train.sample": 500, "train.log_steps": 1, "train.eval_steps": 0}


def make_store(directory):
    """Planted rows, and gradients beside them."""
    path = os.path.join(directory, "store.h5")
    program.write_store(path, trained.planted_rows(ROWS, D))
    gradients = np.random.default_rng(9).normal(size=(ROWS, D)).astype(np.float32)
    with h5py.File(path, "a") as file:
        data = file.create_dataset("gradients/test", data=gradients)
        data.attrs["rms_norm"] = np.sqrt(np.mean(np.sum(gradients.astype(np.float64) ** 2, axis=1)))
    return path


def options(**keys):
    return [word for key, value in keys.items() for word in ("-s", f"{key}={value}")]


def small_prefixes(path):
    """Prefixes that suit the test's size, where the preset lists some for its own."""
    with open(path, encoding="utf-8") as file:
        return {"train.matryoshka.prefixes": f"[8, {LATENTS}]"} if "prefixes: [" in file.read() else {}


tap.check(sorted(METHODS) == [os.path.basename(path)[:-5] for path in PRESETS], "these presets are there", PRESETS)
with program.Directory() as directory:
    store = make_store(directory)
    for path in PRESETS:
        name = os.path.basename(path)[:-5]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        tap.check("a placeholder" in text and text.startswith("#"), f"{name}: says what it is, and what to replace")
        output = os.path.join(directory, name)
        own = {"output": output, "data.store": store, "data.holdout": 200}

        # With its own numbers, but for the store and what depends on its rows.
        status, out, err = program.run(1, "train", path, *options(**own, **{"train.sample": 500}), "--dry-run")
        tap.check(status == 0 and "hpsae" not in err, f"{name}: its own numbers pass a dry run", out + err)

        status, out, err = program.run(1, "train", path, *options(**{**SMALL, **small_prefixes(path), **own}))
        if tap.check(status == 0, f"{name}: two steps are trained", out + err):
            with open(os.path.join(output, "metrics.jsonl"), encoding="utf-8") as file:
                lines = [json.loads(line) for line in file]
            tap.check([line["step"] for line in lines] == [1, 2] and all(0 < line["fvu"] < 10 for line in lines),
                      f"{name}: both are logged", lines)
            used = run_files.read_used(output)
            tap.check((used["model.select"], used["train.objective"]) == METHODS[name], f"{name}: by its method", used)
tap.done()
