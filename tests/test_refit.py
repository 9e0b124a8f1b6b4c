#!/usr/bin/python3
# seconds: 900
"""`hpsae refit` writes the least-squares decoder of the codes that `hpsae encode` gives, as NumPy solves it in double: with
and without ridge, for TopK, BatchTopK and g-SAE dictionaries, with latents that never fire, which keep their rows.

Encoder, biases and selection stay bit for bit, so the codes do; ev never falls on the rows that were fitted; the same
normal equations on 1, 2, 3, 4 and 6 ranks and on grids of any shape. What is written can be evaluated, encoded, told
about and exported, and what cannot be solved is said.
"""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np
import scipy.sparse

import program
import refusal
import tap
import trained

ROWS, D, LATENTS, K = 1100, 24, 150, 5
LAYOUTS = [(1, []), (2, ["grid.block=7"]), (3, ["grid.rows=3", "refit.batch=64"]), (4, ["grid.block=1000"]),
           (6, ["grid.rows=3", "grid.columns=2", "grid.block=5"])]


def must(command, *settings, ranks=1):
    status, out, err = program.run(ranks, command, "c.json", *[w for s in settings for w in ("-s", s)])
    return tap.check(status == 0, f"{command} {' '.join(settings)}, {ranks} ranks", out + err)


def codes(model, rows="train"):
    """Z [T, n] in the units of the store."""
    must("encode", f"encode.model={model}", "encode.output=codes.h5", f"encode.rows={rows}")
    with h5py.File("codes.h5", "r") as file:
        z = file["codes"]
        return scipy.sparse.csr_matrix((z["data"][:], z["indices"][:], z["indptr"][:]),
                                       shape=z.attrs["shape"]).toarray().astype(np.float64)


def read(model):
    with h5py.File(model, "r") as file:
        role = "average" if "average" in file else "value"
        return ({name: file[role][name][...] for name in file[role]},
                {name: file.attrs[name] for name in ("scale", "select", "threshold", "k")})


def expected(Z, Y, W, ridge):
    """Rows of the solution, of W where a latent is silent; what was added to the diagonal."""
    fired = np.any(Z > 0, axis=0)
    A = Z[:, fired].T @ Z[:, fired]
    added = ridge * np.trace(A) / np.count_nonzero(fired)
    result = W.copy()
    result[fired] = np.linalg.solve(A + added * np.eye(len(A)), Z[:, fired].T @ Y)
    return result, added, np.count_nonzero(~fired)


def explained(Z, Y, W):
    return 1 - np.sum((Y - Z @ W) ** 2) / np.sum((Y - Y.mean(axis=0)) ** 2)


def check_model(name, model, rows, ridge, x, settings):
    """Refits on every layout; the file of the last."""
    before, about = read(model)
    scale = about["scale"]
    stored = codes(model, rows)
    Z, Y = stored * scale, x * scale - before["b_dec"].astype(np.float64)
    W, added, silent = expected(Z, Y, before["W_dec"].astype(np.float64), ridge)
    sizes = []
    for ranks, layout in LAYOUTS:
        label, output = f"{name}, {ranks} ranks", f"refit-{ranks}.h5"
        words = [f"refit.model={model}", f"refit.output={output}", f"refit.rows={rows}", f"refit.ridge={ridge}", *settings,
                 *layout]
        status, out, err = program.run(ranks, "refit", "c.json", "--json", *[w for s in words for w in ("-s", s)])
        if not tap.check(status == 0, f"{label}: runs", err):
            return
        found, (after, kept) = json.loads(out), read(output)
        worst = np.abs(after["W_dec"] - W).max() / np.abs(W).max()
        tap.check(worst < 1e-6, f"{label}: the decoder of NumPy", worst)
        tap.check(all(np.array_equal(after[t], before[t]) for t in ("W_enc", "b_enc", "b_dec")) and
                  kept["threshold"] == about["threshold"] and kept["k"] == about["k"], f"{label}: all else stays")
        tap.check(found["silent"] == silent and found["fit_rows"] == len(x) and abs(found["ridge"] - added) <= 1e-6 * added, f"{label}: says what it did", found)
        sizes.append((found["ridge"], round(found["ev"], 9), round(found["ev_before"], 9)))
        if rows == "all":
            gain = explained(Z, Y, after["W_dec"].astype(np.float64)) - explained(Z, Y, before["W_dec"].astype(np.float64))
            tap.check(gain > 0 and abs(found["ev"] - found["ev_before"] - gain) < 1e-5, f"{label}: ev gains", f"{gain} {found}")
    tap.check(len(set(sizes)) == 1, f"{name}: the same on every layout", sizes)
    tap.check(np.array_equal(codes("refit-6.h5", rows), stored), f"{name}: the same codes")


def after_refit():
    """What the other commands make of the file."""
    for command, settings in (("eval", ["eval.model=refit-6.h5", "output=evaluated"]),
                              ("export", ["export.model=refit-6.h5", "export.output=exported"]),
                              ("compare", ["compare.dictionaries=[refit-6.h5, topk]", "output=compared"])):
        must(command, *settings, ranks=2)
    status, out, _ = program.run(1, "info", "refit-6.h5")
    tap.check(status == 0 and "model" in out, "info knows the file", out)


def refused(model):
    refusal.check("equations without a solution",
                  ["refit", "c.json", "-s", f"refit.model={model}", "-s", "refit.output=new.h5", "-s", "refit.ridge=0",
                   "-s", "refit.tokens=20"],
                  "Z'Z is not positive definite: its first 1 latents fire in too few ways on these rows; set a larger "
                  "refit.ridge, or more refit.tokens", ranks=(1, 3, 6), anyhow=r"first \d+ latents")


with program.Directory() as temporary:
    os.chdir(temporary)
    rng = np.random.default_rng(3)
    x = np.float32(trained.planted_rows(ROWS, D))
    program.write_store("store.h5", x, gradients=rng.normal(size=x.shape))
    config = {"output": "none", "data": {"store": "store.h5", "holdout": 200}, "model": {"latents": LATENTS, "k": K},
              "train": {"tokens": 4000, "batch": 200, "lr": 3e-3, "warmup_steps": 0, "sample": 500, "eval_steps": 0,
                        "aux": {"k": 0}, "threshold": {"start_step": 5, "decay": 0.9}},
              "refit": {"output": "refit.h5"}, "encode": {"output": "codes.h5"}, "compare": {"dictionaries": ["none"]}}
    with open("c.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    must("train", "output=topk")
    must("train", "output=batch", "model.select=batch_topk", "train.ema=0.9")
    must("train", "output=gradient", "model.select=gradient", "model.latents=64")
    exact = x.astype(np.float64)
    check_model("TopK", program.checkpoint_path("topk", 20), "train", 1e-3, exact[:-200], [])
    check_model("BatchTopK", program.checkpoint_path("batch", 20), "all", 1e-6, exact, ["data.holdout=0"])
    check_model("g-SAE", program.checkpoint_path("gradient", 20), "all", 0, exact, ["data.holdout=0", "refit.tokens=1100"])
    tap.check(read("refit-6.h5")[1]["select"] in (b"topk", "topk"), "a refitted g-SAE selects by value")
    check_model("few rows", program.checkpoint_path("topk", 20), "holdout", 0.1, exact[-200:], [])
    after_refit()
    refused("topk")
    os.chdir("/")
tap.done()
