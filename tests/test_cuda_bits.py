#!/usr/bin/python3
# seconds: 900
"""A training on a GPU has the bits of a CPU: every selection with every objective, with AuxK, an average, a clip and an
evaluation; also when it goes on from a CPU's checkpoint.  `eval` and `encode` on a GPU say and write what a CPU does.
Without a GPU kernels.backend: cuda is refused in one line that says so.

The dictionaries are wide enough for the screen, and once too small for it; levels are few (suffix vectors) and many (sums
by latent); one has more columns than a block of threads takes at a time.
"""
import json
import os
import shutil
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import tap
import trained

STEPS, BATCH, ROWS = 12, 300, 2000
AVERAGED = {"train__ema": 0.9, "train__clip": 0.05}
CHECKPOINTS = {"train__checkpoint__every_steps": 5, "train__checkpoint__keep": 9}
THRESHOLD = {"train__threshold__start_step": 4, "train__threshold__decay": 0.9}

# selection, objective, d, latents, steps, what else is configured
TABLE = [
    ("topk", "plain", 576, 2100, 50, {}),
    ("topk", "plain", 45, 331, STEPS, {**AVERAGED, "train__aux__dead_tokens": 200}),
    ("topk", "plain", 64, 20000, STEPS, {"train__groups": "auto", "train__k_start": 20, "train__k_steps": 6}),
    ("topk", "multi_topk", 100, 2100, STEPS, AVERAGED),
    ("topk", "multi_topk", 1100, 1300, STEPS, {"train__multi__factor": 2}),
    ("topk", "hierarchical", 45, 1300, STEPS, {}),
    ("topk", "hierarchical", 45, 1300, STEPS, {"train__hierarchical__levels": [2, 5]}),
    ("topk", "hierarchical", 100, 1300, STEPS, {"model__k": 12, **AVERAGED}),
    ("topk", "matryoshka", 576, 2100, STEPS, {}),
    ("topk", "matryoshka", 100, 2100, STEPS, {"train__matryoshka__random": 11}),
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


def check_goes_on(path, config):
    """A CPU's run, cut back to its first checkpoint, goes on on a GPU."""
    straight = train(config, os.path.join(path, "straight"), "auto")
    run = os.path.join(path, "cut")
    shutil.copytree(os.path.join(path, "straight"), run)
    for step in (10, STEPS):
        os.remove(program.checkpoint_path(run, step))
    found = different(straight, train(config, run, "cuda"))
    tap.check(not found, "a GPU goes on from a CPU's checkpoint", found)


def evaluate(config, run, backend, *more):
    status, out, err = program.run(1, "eval", config, "--json", "-s", f"eval.model={run}", "-s", f"kernels.backend={backend}",
                                   *more)
    return json.loads(out) if status == 0 else err


def encode(config, run, backend):
    path = os.path.join(run, f"codes-{backend}.h5")
    status, _, err = program.run(1, "encode", config, "-s", f"encode.model={run}", "-s", f"encode.output={path}",
                                 "-s", f"kernels.backend={backend}")
    if status != 0:
        return err
    with open(path, "rb") as file:
        return file.read()


def check_uses(select, objective):
    """What `eval` says and `encode` writes, in whole batches and in such as no tile divides."""
    name = f"{select} with {objective}"
    with program.Directory() as path:
        gradients = np.random.default_rng(3).normal(size=(ROWS, 100))
        program.write_store(os.path.join(path, "store.h5"), trained.planted_rows(ROWS, 100), gradients=gradients)
        config = trained.write_config(path, **{
            "model__select": select, "train__objective": objective, "model__latents": 2100, "model__k": 5,
            "train__tokens": STEPS * BATCH, "train__batch": BATCH, "train__sample": 300, **CHECKPOINTS, **THRESHOLD})
        if objective == "plain":
            check_goes_on(path, config)
        run = os.path.join(path, "run")
        tap.check(train(config, run, "auto") is not None, f"{name}: trains")
        for more in ((), ("-s", "eval.batch=37", "-s", "eval.rows=all")):
            ours, theirs = (evaluate(config, run, backend, *more) for backend in ("cuda", "auto"))
            tap.check(isinstance(theirs, dict) and ours == theirs, f"{name}: eval on a GPU says the same", (ours, theirs))
        ours, theirs = (encode(config, run, backend) for backend in ("cuda", "auto"))
        tap.check(isinstance(theirs, bytes) and ours == theirs, f"{name}: encode on a GPU writes the same",
                  ours if isinstance(ours, str) else theirs if isinstance(theirs, str) else "other bytes")


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
    for uses in (("topk", "plain"), ("batch_topk", "matryoshka"), ("gradient", "plain")):
        check_uses(*uses)
else:
    check_refused()
tap.done()
