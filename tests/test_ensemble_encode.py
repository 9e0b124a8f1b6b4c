#!/usr/bin/python3
# seconds: 300
"""`hpsae encode` of an ensemble writes the codes of all members, numbered one after the other, times their coefficients:
those of the definition, which times the members' decoder rows and plus their biases are the ensemble's forward pass;
the same bytes on 1, 2 and 3 ranks, whatever the batch; places by value over all members; and the file says of what.
"""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np
import scipy.sparse

import ensembles
import program
import refusal
import tap
import trained

D, ROWS = 45, 700
COMMON = {"data__scale": "dataset", "model__latents": 140, "model__k": 5, "train__tokens": 6000}
THRESHOLD = {"model__select": "batch_topk", "train__threshold__start_step": 3, "train__threshold__decay": 0.5}
MIXED = [{}, {"model__latents": 200, "model__k": 7}, THRESHOLD]
RELATIVE = 2e-5


def read(path):
    with open(path, "rb") as file:
        return file.read()


def encode(config, directory, model, name):
    """On 1, 2 and 3 ranks; the file that all wrote alike."""
    paths = [os.path.join(directory, f"{name}-{ranks}.h5") for ranks in (1, 2, 3)]
    for ranks, batch, path in zip((1, 2, 3), (4096, 100, 37), paths):
        settings = (f"encode.model={model}", f"encode.output={path}", f"encode.batch={batch}", "encode.order=true")
        status, out, err = program.run(ranks, "encode", config, *(w for s in settings for w in ("-s", s)))
        tap.check(status == 0, f"{name} is encoded on {ranks} ranks", f"status {status}\n{out}{err}")
    tap.check(all(read(path) == read(paths[0]) for path in paths), f"{name}: the same bytes on 1, 2 and 3 ranks")
    return paths[0]


def check_codes(name, path, ensemble, rows):
    x = rows * ensemble.scale
    given, Z, clear = ensemble.forward(x)
    with h5py.File(path, "r") as file:
        codes, about = file["codes"], dict(file.attrs)
        offsets, order = codes.attrs["offsets"], codes["order"][:]
        matrix = scipy.sparse.csr_matrix((codes["data"][:], codes["indices"][:], codes["indptr"][:]),
                                         shape=codes.attrs["shape"])
    tap.check(offsets.dtype == np.int64 and np.array_equal(offsets, ensemble.offsets), f"{name}: offsets", offsets)
    found = matrix.toarray() * ensemble.scale
    tap.note(f"{name}: {np.sum(~clear)} of {len(x)} rows set aside for a close choice")
    tap.check(np.mean(clear) > 0.9 and np.array_equal((found > 0)[clear], (Z > 0)[clear]),
              f"{name}: the latents of the definition", np.mean(clear))
    worst = np.max(np.abs(found - Z)[clear]) / Z.max()
    tap.check(worst < RELATIVE, f"{name}: the values of the definition", worst)
    W, b = (np.concatenate([getattr(m.params, t) for m in ensemble.members]) for t in ("W_dec", "b_dec"))
    share = 1 / len(ensemble.members) if ensemble.method == "bagging" else 1
    xhat = found @ W + share * b.reshape(-1, D).sum(axis=0)
    error = np.linalg.norm(xhat - ensemble.whole(given), axis=1)[clear].max() / np.linalg.norm(x, axis=1).mean()
    tap.check(error < RELATIVE, f"{name}: times the decoder rows, the forward pass", error)
    for row in (0, 5, len(x) - 1):
        begin, end = matrix.indptr[row:row + 2]
        by_value = np.argsort(-matrix.data[begin:end], kind="stable")
        tap.check(np.array_equal(order[begin:end][by_value], np.arange(end - begin)),
                  f"{name}: places by value over all members, row {row}")
    return about


def check(config, directory, place, ensemble, rows, select):
    name = f"{ensemble.method}, {select}"
    path = encode(config, directory, place, f"{ensemble.method}-{select}")
    about = check_codes(name, path, ensemble, rows)
    evaluated, out, _ = program.run(1, "eval", config, "--json", "-s", f"eval.model={place}")
    told = {"ensemble": ensemble.method, "members": len(ensemble.members), "select": select,
            "k": sum(m.k for m in ensemble.members), "hook": "test"}
    tap.check(told.items() <= about.items() and "threshold" not in about, f"{name}: what the file says", about)
    tap.check(evaluated == 0 and json.loads(out)["checksum"] == about["model_checksum"],
              f"{name}: the checksum is that of its evaluation", about)
    share = 1 / len(ensemble.members) if ensemble.method == "bagging" else 1
    limits = [m.threshold * share / ensemble.scale for m in ensemble.members]
    tap.check(("thresholds" in about) == (select == "batch_topk")
              and np.allclose(about.get("thresholds", limits), limits, rtol=1e-12),
              f"{name}: thresholds where all have one", about)


def young(directory, config):
    """A member without a threshold."""
    runs = [ensembles.train(directory, os.path.join(directory, "young", f"member-{j}"), **{**COMMON, **keys}) for j, keys in
            enumerate(({}, {"model__select": "batch_topk", "train__tokens": 3000}), 1)]
    ensembles.write_file("young", "bagging", runs)
    refusal.check("a threshold that is not known", ["encode", config, "-s", "encode.model=young", "-s",
                                                    "encode.output=codes.h5"],
                  "young/member-2 has no threshold yet: it is averaged from step train.threshold.start_step on, and "
                  "this one has done 20; train further, or lower that key")


with program.Directory() as path:
    trained.make_store(path, ROWS, D)
    with h5py.File(os.path.join(path, "store.h5"), "r") as store:
        activations = store["activations/test"][...].astype(np.float64)
    settings = trained.write_config(path, output=os.path.join(path, "out"), **COMMON)
    bag, bag_of = ensembles.bagging(path, COMMON, MIXED)
    check(settings, path, bag, bag_of, activations, "mixed")
    boost, boost_of = ensembles.boosting(path, COMMON, MIXED)
    check(settings, path, boost, boost_of, activations, "mixed")
    os.rename(bag, bag + "-mixed")
    check(settings, path, *ensembles.bagging(path, COMMON, [THRESHOLD, {**THRESHOLD, "model__k": 9}]), activations,
          "batch_topk")
    settings = trained.write_config(path, output=os.path.join(path, "out"), **COMMON)
    os.chdir(path)
    young(path, settings)
    os.chdir("/")
tap.done()
