#!/usr/bin/python3
# seconds: 300
"""`hpsae compare` takes an ensemble as the dictionary of all its members' latents: stability between two, max_cos,
diversity and connectivity are those of NumPy from the members' decoders one below the other and from their codes; a model
beside ensembles; the same bits on 1, 2 and 3 ranks.  `refit`, which works on one dictionary, says that it does.
"""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np

import ensembles
import program
import refusal
import sae
import tap
import trained

D, ROWS, HOLDOUT = 45, 900, 150
COMMON = {"data__scale": "dataset", "data__holdout": HOLDOUT, "model__latents": 70, "model__k": 3, "train__tokens": 6000}
THRESHOLD = {"model__select": "batch_topk", "train__threshold__start_step": 3, "train__threshold__decay": 0.5}
CLOSE = 3e-6


def rows_of(ensemble):
    """All members' decoder rows, of norm 1."""
    return sae.unit_rows(np.concatenate([m.params.W_dec for m in ensemble.members]))


def nearest(rows, others):
    return (rows @ others.T).max(axis=1)


def expected(dictionaries, x):
    """Of each: stability, max_cos, diversity, connectivity, alive."""
    found = []
    for i, one in enumerate(dictionaries):
        rows = rows_of(one)
        cosine = rows @ rows.T
        np.fill_diagonal(cosine, -np.inf)
        _, Z, _ = one.forward(x * one.scale)
        active = (Z > 0).astype(float)
        pairs = np.count_nonzero(active.T @ active)
        others = np.concatenate([rows_of(other) for j, other in enumerate(dictionaries) if j != i])
        found.append({"latents": len(rows), "k": sum(m.k for m in one.members),
                      "stability": nearest(rows, others).mean(), "max_cos": cosine.max(axis=1).mean(),
                      "diversity": np.sum(cosine.max(axis=1) < 0.7), "connectivity": 1 - pairs / len(rows) ** 2,
                      "alive": np.sum(active.any(axis=0))})
    return found


def compare(config, directory, names, ranks):
    status, out, err = program.run(ranks, "compare", config, "--json", "-s", f"compare.dictionaries=[{', '.join(names)}]",
                                   "-s", f"output={os.path.join(directory, 'out')}", "-s", "compare.batch=64")
    tap.check(status == 0, f"compares on {ranks} ranks", f"status {status}\n{out}{err}")
    return json.loads(out) if status == 0 else None


with program.Directory() as path:
    trained.make_store(path, ROWS, D)
    with h5py.File(os.path.join(path, "store.h5"), "r") as store:
        held = store["activations/test"][-HOLDOUT:].astype(np.float64)
    bag, bag_of = ensembles.bagging(path, COMMON, [{}, {"model__latents": 101}, THRESHOLD])
    boost, boost_of = ensembles.boosting(path, COMMON, [{"train__seed": 7}, {"train__seed": 8, "model__k": 5}])
    member = os.path.join(bag, "member-2")
    names, all_of = [bag, boost, member], [bag_of, boost_of, ensembles.Ensemble("bagging", [member])]
    settings = trained.write_config(path, **COMMON)
    found = compare(settings, path, names, 1)
    for name, one, want in zip(names, found["dictionaries"], expected(all_of, held)):
        for key, value in want.items():
            tap.check(abs(one[key] - value) <= CLOSE * max(1, abs(value)), f"{os.path.basename(name)}: {key}",
                      (one[key], value))
        tap.check(one["model"] == name, "by the name that was given", one["model"])
    _, out, _ = program.run(1, "eval", settings, "--json", "-s", f"eval.model={bag}")
    tap.check(json.loads(out)["checksum"] == found["dictionaries"][0]["checksum"], "the checksum is that of eval")
    for ranks in (2, 3):
        tap.check(compare(settings, path, names, ranks) == found, f"the same bits on {ranks} ranks")
    os.chdir(path)
    refusal.check("refit of an ensemble", ["refit", settings, "-s", "refit.model=bagging", "-s", "refit.output=new.h5"],
                  "bagging: an ensemble, of which each member is refitted alone: name one of them")
    os.chdir("/")
tap.done()
