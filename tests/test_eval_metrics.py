#!/usr/bin/python3
"""Every figure of `hpsae eval` equals its definition in NumPy, for each way to select and scale; it is the same bits on
1, 2 and 3 ranks, and all but the last digits on batches of any size.

seconds: 600
"""
import json
import os
import sys

import h5py
import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import metrics
import program
import sae
import slots
import tap
import trained

D, N, K, ROWS, HOLDOUT, FITTED = 45, 140, 5, 1300, 130, 60
# The program encodes and decodes in float32; effects on the loss are differences of larger numbers.
TOLERANCE, LAST_DIGITS = 2e-6, 1e-12

CASES = {
    "topk": {"data__scale": "dataset", "train__aux__k": 0},
    "average": {"data__scale": "none", "train__ema": 0.9},
    "token": {"data__scale": "token"},
    "matryoshka": {"model__select": "batch_topk", "train__objective": "matryoshka", "data__scale": "dataset",
                   "train__matryoshka__prefixes": [10, 33, 34, 100, N], "train__threshold__start_step": 3,
                   "train__threshold__decay": 0.5},
    "gradient": {"model__select": "gradient", "model__beta": 0.7, "data__scale": "dataset",
                 "train__objective": "hierarchical"},
}


def make_store(directory):
    x = trained.planted_rows(ROWS, D)
    rng = np.random.default_rng(8)
    g = 0.02 * (x @ rng.normal(size=(D, D)) / D**0.5 + rng.normal(size=x.shape))
    program.write_store(os.path.join(directory, "store.h5"), x, gradients=g)
    with h5py.File(os.path.join(directory, "store.h5"), "r") as file:
        return file["activations/test"][...].astype(np.float64), file["gradients/test"][...].astype(np.float64)


def config_of(directory, name):
    keys = {"data__holdout": HOLDOUT, "model__latents": N, "model__k": K, "train__tokens": 6000, "train__batch": 150,
            "eval__shrinkage_rows": FITTED, **CASES[name]}
    return trained.write_config(directory, output=os.path.join(directory, name), **keys)


def evaluate(name, config, ranks, *overrides):
    options = [word for override in overrides for word in ("-s", override)]
    status, out, err = program.run(ranks, "eval", config, "--json", *options)
    if not tap.check(status == 0, f"{name}: evaluates on {ranks} ranks", f"status {status}\n{out}\n{err}"):
        return None, err
    return json.loads(out), err


class Model:
    """A checkpoint as the oracle needs it."""

    def __init__(self, path):
        with h5py.File(path, "r") as file:
            self.params = program.read_params(file, "average") or program.read_params(file, "value")
            self.scale, self.threshold = float(file.attrs["scale"]), float(file.attrs["threshold"])
            self.alpha, self.beta = float(file.attrs["alpha"]), float(file.attrs["beta"])


def expected(name, model, x, g, rms):
    """What the program should find, by name; curves as {size: ev}."""
    params, scale = model.params, model.scale
    p = sae.preactivations(params, x)
    Z = metrics.above(p, model.threshold) if name == "matryoshka" else metrics.by_rank(p, K, p)
    widest = Z if name == "matryoshka" else metrics.by_rank(p, 4 * K, p)
    sizes = [1, 2, 4, K, 8, 16, 4 * K]
    want = metrics.reconstruction(params, x, Z, scale)
    want["ev_at_k"] = dict(zip(sizes, metrics.curve(params, x, widest, sizes)))
    if name == "matryoshka":
        sizes = CASES[name]["train__matryoshka__prefixes"]
        want["prefix_ev"] = dict(zip(sizes, metrics.prefixes(params, x, Z, sizes)))
    want["shrinkage"] = metrics.shrinkage(params, x[:FITTED], Z[:FITTED])
    want["max_cos"] = metrics.max_cos(params)
    want["density"], want["never"] = metrics.density(Z)
    if name != "token":
        want.update(metrics.first_order(params, x, Z, g, scale))
    if name == "gradient":
        score = slots.gradient_score(p, params.W_dec, g / rms, model.alpha, model.beta)
        Z = metrics.by_rank(score, K, p)
        figures = metrics.reconstruction(params, x, Z, scale)
        want["gradient_select"] = {**{key: figures[key] for key in ("ev", "l0", "mse")},
                                   **metrics.first_order(params, x, Z, g, scale)}
    return want


def flat(found):
    """The program's object in the form of expected()."""
    out = {key: value for key, value in found.items() if key in
           ("mse", "fvu", "ev", "ev_dimmean", "l0", "alive_eval", "shrinkage", "max_cos", "first_order",
            "first_order_abs", "first_order_r2", "gradient_select")}
    out["ev_at_k"] = dict(zip(found["ev_at_k"]["k"], found["ev_at_k"]["ev"]))
    out["density"], out["never"] = found["density"]["counts"], found["density"]["never"]
    if "prefix_ev" in found:
        out["prefix_ev"] = dict(zip(found["prefix_ev"]["prefix"], found["prefix_ev"]["ev"]))
    return out


def differences(found, want, path=""):
    """Pairs (name, relative difference) of two nested objects; what one of them lacks differs without end."""
    if isinstance(found, dict) and isinstance(want, dict):
        for key in sorted(set(found) | set(want), key=str):
            yield from differences(found.get(key), want.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(found, (int, float)) and isinstance(want, (int, float)):
        yield path, abs(found - want) / max(abs(want), 1e-3)
    else:
        yield path, 0.0 if found == want else np.inf


def check_close(name, what, found, want, tolerance):
    for path, size in differences(found, want):
        if not size <= tolerance:
            tap.check(False, f"{name}: {what}: {path}", f"relative difference {size:.3g}")
            return
    worst = max(differences(found, want), key=lambda pair: pair[1])
    tap.check(True, f"{name}: {what}")
    tap.note(f"{name}: {what}: worst difference {worst[1]:.2g} at {worst[0]}")


def check_order(name, found):
    """What must hold whatever the figures are."""
    evs = [ev for k, ev in zip(found["ev_at_k"]["k"], found["ev_at_k"]["ev"]) if k <= K]
    tap.check(evs == sorted(evs) and 0 < evs[0] < evs[-1], f"{name}: ev rises up to the model's k", evs)
    if name == "matryoshka":
        tap.check(abs(found["prefix_ev"]["ev"][-1] - found["ev"]) < TOLERANCE, f"{name}: the last prefix is the whole",
                  f"{found['prefix_ev']['ev'][-1]} {found['ev']}")
    else:
        at_k = found["ev_at_k"]["ev"][found["ev_at_k"]["k"].index(K)]
        tap.check(at_k == found["ev"], f"{name}: the curve at the model's k is ev", f"{at_k} {found['ev']}")


def check_training_line(name, run, found):
    """The last line of metrics.jsonl against eval."""
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
        line = json.loads(file.readlines()[-1])
    tap.check(line["heldout_ev"] == found["ev"], f"{name}: ev as at the end of training",
              f"{line['heldout_ev']} {found['ev']}")
    expected_prefixes = found["prefix_ev"]["ev"] if name == "matryoshka" else None
    tap.check(line.get("prefix_ev") == expected_prefixes, f"{name}: prefix_ev as at the end of training",
              f"{line.get('prefix_ev')} {expected_prefixes}")


def test_case(directory, name, rows, gradients):
    config = config_of(directory, name)
    status, out, err = program.run(2, "train", config)
    if not tap.check(status == 0, f"{name}: trains", f"status {status}\n{out}\n{err}"):
        return
    run = os.path.join(directory, name)
    found, log = evaluate(name, config, 1)
    if found is None:
        return
    model = Model(program.checkpoint_path(run, 40))
    x = sae.scale_rows(rows, CASES[name]["data__scale"], np.mean(np.sum(rows**2, axis=1)))[-HOLDOUT:]
    want = expected(name, model, x, gradients[-HOLDOUT:], program.rms_norm(gradients))
    check_close(name, "as defined", flat(found), want, TOLERANCE)
    check_order(name, found)
    check_training_line(name, run, found)
    tap.check(("gradients are left aside" in log) == (name == "token"), f"{name}: says when gradients are of no use", log)
    for ranks in (2, 3):
        other, _ = evaluate(name, config, ranks)
        tap.check(other == found, f"{name}: the same bits on {ranks} ranks",
                  [key for key in found if other and other[key] != found[key]])
    other, _ = evaluate(name, config, 2, "eval.batch=37")
    if other is not None:
        check_close(name, "other batches", flat(other), flat(found), LAST_DIGITS)


def write_foreign(folder, seed=6):
    """A sparsify dictionary of random tensors whose decoder rows have norms of 0.5 to 20, and equal rows among them."""
    rng = np.random.default_rng(seed)
    W = rng.uniform(0.5, 20, size=(N, 1)) * sae.unit_rows(rng.normal(size=(N, D)))
    W[7], W[90] = W[8], 2 * W[8]
    e = sae.unit_rows(W) / np.linalg.norm(W, axis=1, keepdims=True) + 0.02 * rng.normal(size=(N, D))
    tensors = {"encoder.weight": e, "encoder.bias": 0.1 * rng.normal(size=N), "W_dec": W, "b_dec": rng.normal(size=D)}
    header, body = {}, b""
    for name, values in tensors.items():
        words = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(body), len(body) + len(words)]}
        body += words
    os.makedirs(folder)
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "sae.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + body)
    with open(os.path.join(folder, "cfg.json"), "w", encoding="utf-8") as file:
        json.dump({"activation": "topk", "num_latents": N, "k": K, "d_in": D}, file)


def test_foreign(directory, rows, gradients):
    """A dictionary from elsewhere: decoder rows of any norm, some of them equal."""
    folder, model = os.path.join(directory, "foreign"), os.path.join(directory, "foreign.h5")
    write_foreign(folder)
    config = trained.write_config(directory, output=os.path.join(directory, "of-foreign"), data__holdout=HOLDOUT,
                                  eval__model=model, eval__shrinkage_rows=FITTED,
                                  **{"import": {"input": folder, "output": model}})
    status, _, err = program.run(2, "import", config)
    tap.check(status == 0, "foreign: imports", err)
    found, _ = evaluate("foreign", config, 1)
    if found is None:
        return
    want = expected("foreign", Model(model), rows[-HOLDOUT:], gradients[-HOLDOUT:], 1.0)
    check_close("foreign", "as defined", flat(found), want, TOLERANCE)
    tap.check(found["dead"] is None, "foreign: nothing is known of training", found["dead"])
    for ranks in (2, 3):
        other, _ = evaluate("foreign", config, ranks)
        tap.check(other == found, f"foreign: the same bits on {ranks} ranks",
                  [key for key in found if other and other[key] != found[key]])


def test_options(directory):
    """Figures that are switched off, another end of the curve, a store without gradients."""
    config = config_of(directory, "topk")
    found, _ = evaluate("options", config, 1, "eval.curve=3", "eval.max_cos=false", "eval.shrinkage_rows=0")
    if found is not None:
        tap.check(found["ev_at_k"]["k"] == [1, 2, 3, K], "options: a short curve",
                  found["ev_at_k"])
        tap.check(found["max_cos"] is None and found["shrinkage"] is None, "options: figures that are not wanted",
                  f"{found['max_cos']} {found['shrinkage']}")
    found, _ = evaluate("options", config, 1, f"eval.curve={N + 5}", "eval.max_cos=false", "eval.rows=train")
    if found is not None:
        tap.check(found["ev_at_k"]["k"] == [1, 2, 4, K, 8, 16, 32, 64, 128, N], "options: a curve over all latents",
                  found["ev_at_k"])


def test_no_threshold(directory):
    """A BatchTopK model whose threshold is not known yet is evaluated by batches, and that is said."""
    config = trained.write_config(directory, output=os.path.join(directory, "young"), data__holdout=HOLDOUT,
                                  model__latents=N, model__k=K, model__select="batch_topk", train__tokens=600)
    status, _, err = program.run(2, "train", config)
    tap.check(status == 0, "young: trains", err)
    found, log = evaluate("young", config, 2)
    if found is not None:
        tap.check(found["selection"] == "batch_topk" and "no threshold yet" in log, "young: selects by batches", log)
        tap.check(found["l0"] <= K, "young: k latents a token on average", found["l0"])


def test_wide(directory):
    """More latents a token than dimensions: values are fitted near the given ones, the same on any ranks and batches; with
    too many latents tokens are left out."""
    for n, k, fitted in ((600, 200, 40), (1400, 1300, 0)):
        name = f"{k} latents a token"
        config = trained.write_config(directory, output=os.path.join(directory, f"wide{k}"), data__holdout=40,
                                      model__latents=n, model__k=k, train__tokens=150, eval__max_cos=False)
        status, _, err = program.run(2, "train", config)
        tap.check(status == 0, f"{name}: trains", err)
        found, _ = evaluate(name, config, 1)
        other, log = evaluate(name, config, 3, "eval.batch=7")
        if found is None or other is None:
            return
        tap.check(found["shrinkage_rows"] == fitted and found["shrinkage"] == other["shrinkage"],
                  f"{name}: {fitted} rows are fitted, the same", f"{found['shrinkage_rows']} {found['shrinkage']} "
                  f"{other['shrinkage']}")
        tap.check((found["shrinkage"] is None) == (fitted == 0) and ("40 rows left out" in log) == (fitted == 0),
                  f"{name}: says what is left out", log)


with program.Directory() as temporary:
    store, store_gradients = make_store(temporary)
    for case in CASES:
        test_case(temporary, case, store, store_gradients)
    test_foreign(temporary, store, store_gradients)
    test_options(temporary)
    test_wide(temporary)
    test_no_threshold(temporary)
tap.done()
