#!/usr/bin/python3
# seconds: 900
"""A training on a GPU has the bits of a CPU: every selection with every objective, with AuxK, an average, a clip and an
evaluation.  Without a GPU kernels.backend: cuda is refused in one line that says so.

The dictionaries are wide enough for the screen, and once too small for it.
"""
import os
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import tap
import trained

STEPS, BATCH, ROWS = 12, 300, 2000
AVERAGED = {"train__ema": 0.9, "train__clip": 0.05}
THRESHOLD = {"train__threshold__start_step": 4, "train__threshold__decay": 0.9}

# selection, objective, d, latents, steps, what else is configured
TABLE = [
    ("topk", "plain", 576, 2100, 50, {}),
    ("topk", "plain", 45, 331, STEPS, {**AVERAGED, "train__aux__dead_tokens": 200}),
    ("topk", "multi_topk", 100, 2100, STEPS, AVERAGED),
    ("topk", "hierarchical", 45, 1300, STEPS, {}),
    ("topk", "hierarchical", 45, 1300, STEPS, {"train__hierarchical__levels": [2, 5]}),
    ("topk", "matryoshka", 576, 2100, STEPS, {}),
    ("batch_topk", "plain", 192, 2100, STEPS, THRESHOLD),
    ("batch_topk", "matryoshka", 45, 1300, STEPS, {**THRESHOLD, **AVERAGED}),
    ("gradient", "plain", 45, 1300, STEPS, {}),
    ("gradient", "matryoshka", 192, 2100, STEPS, {"train__matryoshka__random": 3}),
]


def train(config, run, backend, *more):
    status, out, err = program.run(1, "train", config, "-s", f"output={run}", "-s", f"kernels.backend={backend}", *more,
                                   threads=min(8, os.cpu_count()))
    if status not in (0, 75):
        tap.note(f"status {status}\n{out}\n{err}")
        return None
    return {"lines": trained.exact_lines(run), "state": trained.run_facts(run)["state_checksum"]}


def different(first, this):
    if first is None or this is None:
        return "a run failed"
    pairs = zip(first["lines"], this["lines"])
    found = next(((a, b) for a, b in pairs if a != b), None)
    return found or (None if first == this else "the final state")


def check_pair(select, objective, d, latents, steps, keys):
    name = f"{select} with {objective}, d {d}, {latents} latents"
    with program.Directory() as path:
        gradients = np.random.default_rng(3).normal(size=(ROWS, d)) if select == "gradient" else None
        program.write_store(os.path.join(path, "store.h5"), trained.planted_rows(ROWS, d), gradients=gradients)
        config = trained.write_config(path, **{
            "model__select": select, "train__objective": objective, "model__latents": latents, "model__k": 5,
            "train__tokens": steps * BATCH, "train__batch": BATCH, "train__eval_steps": 9, "train__sample": 300,
            "train__aux__k": 32, "train__aux__dead_tokens": 2 * BATCH, **keys})
        first = train(config, os.path.join(path, "cpu"), "auto")
        meant = first is not None and any(line["aux_fvu"] > 0 for line in first["lines"])
        tap.check(meant, f"{name}: trains as meant, with AuxK", first)
        found = different(first, train(config, os.path.join(path, "gpu"), "cuda"))
        tap.check(not found, f"{name}: {steps} steps on a GPU have the same bits", found)


def check_refused():
    with program.Directory() as path:
        trained.make_store(path, 400, 24)
        config = trained.write_config(path)
        status, _, err = program.run(1, "train", config, "-s", "kernels.backend=cuda")
        line = err.strip().splitlines()
        tap.check(status == 2 and len(line) == 1 and "kernels.backend: cuda" in line[0], "without a GPU: one line", err)


if "cuda" in program.all_backends():
    for row in TABLE:
        check_pair(*row)
else:
    check_refused()
tap.done()
