#!/usr/bin/python3
"""Special cases of the selections and objectives are the plain method, bit for bit: every figure of every step and
every number of the final state."""
import os
import sys

import h5py
import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import sae
import tap
import trained

D, N, K, ROWS = 61, 131, 5, 500
AVERAGED = {"train__ema": 0.9, "train__clip": 0.05, "train__aux__k": 8, "train__aux__dead_tokens": 140}


def method(select="topk", objective="plain", **keys):
    return {"model__select": select, "train__objective": objective, **AVERAGED, **keys}


ALONE = {"train__batch": 1, "train__tokens": 60, "train__aux__dead_tokens": 10}

# what it is, the special case, ranks, the plain method, ranks
TABLE = [
    ("gradient with beta 0 is topk", method("gradient", model__beta=0), 3, method(), 1),
    ("gradient with beta 0 is topk, hierarchical", method("gradient", "hierarchical", model__beta=0), 1,
     method(objective="hierarchical"), 2),
    ("hierarchical with the level k is plain", method(objective="hierarchical", train__hierarchical__levels=[K]), 2,
     method(), 1),
    ("hierarchical with the level k is plain, by gradient",
     method("gradient", "hierarchical", train__hierarchical__levels=[K]), 2, method("gradient"), 1),
    ("matryoshka with the prefix n is plain", method(objective="matryoshka", train__matryoshka__prefixes=[N]), 2,
     method(), 1),
    ("matryoshka with one drawn prefix is plain, of a batch",
     method("batch_topk", "matryoshka", train__matryoshka__random=1), 1, method("batch_topk"), 3),
    ("multi_topk with weight 0 is plain", method(objective="multi_topk", train__multi__weight=0), 2, method(), 1),
    ("batch_topk of one token is topk", method("batch_topk", **ALONE), 1, method(**ALONE), 2),
    ("batch_topk of one token is topk, matryoshka", method("batch_topk", "matryoshka", **ALONE), 2,
     method(objective="matryoshka", **ALONE), 1),
]


def numbers(path):
    """Every array of a checkpoint."""
    with h5py.File(path, "r") as file:
        roles = [role for role in ("value", "moment1", "moment2", "average") if role in file]
        arrays = {f"{role}/{tensor}": file[f"{role}/{tensor}"][...] for role in roles for tensor in sae.TENSORS}
        return {**arrays, "fired": file["fired"][...]}


def result(directory, keys, ranks, name):
    config = trained.write_config(directory, **{
        "output": os.path.join(directory, name), "model__latents": N, "model__k": K, "train__tokens": 1400,
        "train__batch": 70, "train__sample": 300, "train__eval_steps": 0, **keys})
    status, out, err = program.run(ranks, "train", config)
    if not tap.check(status == 0, f"{name} trains", f"status {status}\n{out}\n{err}"):
        return None
    lines = [{key: value for key, value in line.items() if key not in ("threshold", "heldout_ev", "heldout_mse",
                                                                      "heldout_l0")}
             for line in trained.exact_lines(os.path.join(directory, name))]
    return lines, numbers(program.checkpoint_path(os.path.join(directory, name), lines[-1]["step"]))


def check(directory, number, name, special, ranks, plain, plain_ranks):
    mine = result(directory, special, ranks, f"special-{number}")
    theirs = result(directory, plain, plain_ranks, f"plain-{number}")
    if mine is None or theirs is None:
        return
    first = next(((a, b) for a, b in zip(mine[0], theirs[0]) if a != b), None)
    tap.check(mine[0] == theirs[0], f"{name}: the same figures of {len(theirs[0])} steps", first)
    other = [key for key in theirs[1] if key not in mine[1] or not np.array_equal(mine[1][key], theirs[1][key])]
    tap.check(not other and len(mine[1]) == 17, f"{name}: the same final state", other)


with program.Directory() as path:
    gradients = np.random.default_rng(4).normal(size=(ROWS, D))
    program.write_store(os.path.join(path, "store.h5"), trained.planted_rows(ROWS, D), gradients=gradients)
    for place, row in enumerate(TABLE):
        check(path, place, *row)
tap.done()
