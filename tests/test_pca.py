#!/usr/bin/python3
# seconds: 600
"""`hpsae pca` against NumPy in double: mean, eigenvalues, components and ev at every rank, on training rows, held-out rows
and all, far off centre and with columns of no variance, with normalised tokens, with fewer rows than columns, and on the
sample in data/ against analysis/pca_floor.py.

On 1, 2, 3, 4 and 6 ranks, on grids of any shape and with blocks that do not divide d, the figures agree to 1e-10.
"""
import json
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "oracle"), os.path.join(HERE, "..", "analysis")]
import h5py
import numpy as np

import activations
import pca_floor
import program
import tap

SAMPLE = os.path.join(HERE, "..", "data", "smollm2-sample.h5")
ROWS, HOLDOUT = 700, 150
LAYOUTS = [(1, []), (2, ["grid.block=7"]), (3, ["grid.rows=3", "pca.batch=64"]), (4, ["grid.block=1000"]),
           (6, ["grid.rows=3", "grid.columns=2", "grid.block=5"])]


def make_rows(seed, d):
    """A few strong directions, far from the origin; one column that never changes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, d)) @ np.diag(rng.uniform(0.1, 3, size=d)) + rng.normal(size=(ROWS, 3)) @ (
        20 * rng.normal(size=(3, d))) + 100
    x[:, d // 2] = 5
    return np.float32(x)


def parts(x, which):
    return {"train": x[:-HOLDOUT], "holdout": x[-HOLDOUT:], "all": x}[which].astype(np.float64)


def token_norm(x):
    x = x.astype(np.float64)
    x = x - x.mean(axis=1, keepdims=True)
    return x * np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True)


def check_file(name, path, fitted, measured):
    """The components of a file; the ev that it lists."""
    d = fitted.shape[1]
    with h5py.File(path, "r") as file:
        mean, w, V, ev = (file[key][...] for key in ("mean", "eigenvalues", "components", "ev"))
        tap.check(file.attrs["fit_rows"] == len(fitted) and file.attrs["format"] == "hpsae-pca", f"{name}: attributes")
    C = np.cov(fitted.T, bias=True).reshape(d, d)
    size = np.linalg.eigvalsh(C)
    tap.check(np.allclose(mean, fitted.mean(axis=0), rtol=1e-12, atol=1e-12), f"{name}: mean")
    tap.check(np.abs(w - size[::-1]).max() < 1e-12 * size[-1], f"{name}: eigenvalues",
              np.abs(w - size[::-1]).max() / size[-1])
    tap.check(np.abs(V @ V.T - np.eye(d)).max() < 1e-11 and np.abs(C @ V.T - V.T * w).max() < 1e-12 * size[-1],
              f"{name}: components", f"{np.abs(V @ V.T - np.eye(d)).max()} {np.abs(C @ V.T - V.T * w).max() / size[-1]}")
    tap.check(np.all(V[np.arange(d), np.abs(V).argmax(axis=1)] > 0), f"{name}: their signs")
    total = np.sum((measured - measured.mean(axis=0)) ** 2)
    left = np.sum((measured - mean) ** 2) - np.cumsum(np.sum(((measured - mean) @ V.T) ** 2, axis=0))
    tap.check(np.abs(ev - (1 - left / total)).max() < 1e-10, f"{name}: ev at every rank",
              np.abs(ev - (1 - left / total)).max())
    return ev


def run_case(name, x, fit, rows, scale="dataset", k=None):
    fitted, measured = parts(x, fit), parts(x, rows)
    if scale == "token":
        fitted, measured = token_norm(fitted), token_norm(measured)
    program.write_store("store.h5", x)
    model = {} if k is None else {"model": {"latents": 64, "k": k}}
    with open("c.json", "w", encoding="utf-8") as file:
        json.dump({"output": "out", "data": {"store": "store.h5", "holdout": HOLDOUT, "scale": scale},
                   "pca": {"fit": fit, "rows": rows}, **model}, file)
    for ranks, layout in LAYOUTS:
        label = f"{name}, {ranks} ranks"
        status, out, err = program.run(ranks, "pca", "c.json", "--json", *[w for s in layout for w in ("-s", s)])
        if not tap.check(status == 0, f"{label}: runs", err):
            continue
        ev = check_file(label, "out/pca.h5", fitted, measured) if scale != "token" else None
        found = json.loads(out)
        ks, evs = found["ev_at_k"]["k"], found["ev_at_k"]["ev"]
        d = x.shape[1]
        wanted = sorted({*(2**i for i in range(d.bit_length()) if 2**i < d), d, *([k] if k is not None and k <= d else [])})
        tap.check(ks == wanted and found["fit_rows"] == len(fitted) and found["rows"] == len(measured), f"{label}: sizes",
                  f"{ks} {wanted}")
        theirs = pca_floor.explained_variance(fitted, measured, ks)
        worst = max(abs(e - theirs[q]) for q, e in zip(ks, evs))
        # A normalised token is rounded to float32, as training sees it.
        tap.check(worst < (1e-5 if scale == "token" else 1e-10), f"{label}: ev_at_k of analysis/pca_floor.py", worst)
        tap.check(ev is None or [ev[q - 1] for q in ks] == evs, f"{label}: the file says the same")
        with open("out/pca.json", encoding="utf-8") as file:
            tap.check(json.load(file)["ev_at_k"]["k"] == ks, f"{label}: pca.json")


def sample():
    x = activations.read_rows([SAMPLE])
    with open("s.json", "w", encoding="utf-8") as file:
        json.dump({"output": "sample", "data": {"store": SAMPLE, "holdout": 2048}, "pca": {"output": "there/c.h5"}}, file)
    results = []
    for ranks in (1, 2, 4):
        status, out, err = program.run(ranks, "pca", "s.json", "--json")
        if tap.check(status == 0, f"the sample, {ranks} ranks", err):
            results.append(json.loads(out)["ev_at_k"])
    theirs = pca_floor.explained_variance(x[:-2048], x[-2048:], results[0]["k"])
    worst = max(abs(e - theirs[k]) for found in results for k, e in zip(found["k"], found["ev"]))
    tap.check(worst < 1e-10 and os.path.exists("there/c.h5"), "the sample: ev_at_k of analysis/pca_floor.py", worst)


with program.Directory() as temporary:
    os.chdir(temporary)
    run_case("train and held out", make_rows(1, 45), "train", "holdout", k=5)
    run_case("the same rows", make_rows(2, 33), "all", "all")
    run_case("fewer rows than columns", make_rows(3, 171), "holdout", "train", k=200)
    run_case("three columns", make_rows(4, 3), "train", "holdout")
    run_case("normalised tokens", make_rows(5, 20), "train", "holdout", scale="token")
    sample()
    os.chdir("/")
tap.done()
