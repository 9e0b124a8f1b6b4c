#!/usr/bin/python3
# seconds: 900
"""`hpsae compare` against NumPy and SciPy in double: stability with its floor, max_cos, diversity, connectivity, the best
matching; on dictionaries of random rows, with rows that are equal, opposite, zero or of a few directions (where float32
screening cannot decide), of different sizes, and on such as were trained on the sample in data/.

The figures are the same bits on 1, 2, 3, 4 and 6 ranks, on grids of any shape, with any block, with panels that do not
divide the rows, and max_cos is that of `hpsae eval`.
"""
import itertools
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np
import scipy.optimize
import scipy.sparse

import program
import tap

SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "smollm2-sample.h5")
CLOSE = 3e-6  # float32 sums of d products, of norm 1
# ranks, then what must not matter
LAYOUTS = [(1, []), (2, ["grid.block=5"]), (3, ["grid.rows=3", "grid.memory=14"]), (4, ["grid.block=64"]),
           (6, ["grid.rows=3", "grid.columns=2", "grid.block=7"]), (6, ["grid.rows=1", "compare.batch=100"])]


def write_safetensors(path, tensors):
    head, offset = {}, 0
    for name, values in tensors.items():
        head[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(head).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values, dtype="<f4").tobytes())


def write_dictionary(folder, W, k=3):
    """A TopK dictionary with decoder W [n, d] and encoder W, for `hpsae import`."""
    W = np.asarray(W, dtype=np.float32)
    n, d = W.shape
    os.makedirs(folder)
    with open(os.path.join(folder, "cfg.json"), "w", encoding="utf-8") as file:
        json.dump({"activation": "topk", "num_latents": n, "k": k, "normalize_decoder": False, "d_in": d}, file)
    write_safetensors(os.path.join(folder, "sae.safetensors"),
                      {"encoder.weight": W, "encoder.bias": np.zeros(n, np.float32), "W_dec": W,
                       "b_dec": np.zeros(d, np.float32)})


def random_rows(seed, n, d):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * rng.uniform(0.5, 2, size=(n, 1))


def awkward_rows(seed, n, d):
    """Many rows alike, in pairs opposite, zeros."""
    W = random_rows(seed, n, d)
    W[10:40] = W[3] * np.linspace(1, 2, 30)[:, None]
    W[50] = -W[51]
    W[60:63] = 0
    return W


def few_directions(seed, n, d):
    rng = np.random.default_rng(seed)
    return rng.integers(-1, 2, size=(n, d)).astype(float)


def cosines(A, B):
    unit = [W / np.where(np.linalg.norm(W, axis=1) > 0, np.linalg.norm(W, axis=1), 1)[:, None] for W in (A, B)]
    return np.minimum(unit[0] @ unit[1].T, 1)


def decoder(model):
    with h5py.File(model, "r") as file:
        role = "average" if "average" in file else "value"
        return file[role]["W_dec"][...].astype(np.float64)


def expected(decoders):
    """Per dictionary max_cos, diversity, stability; overall stability and floor; the matchings' means."""
    total, d = sum(map(len, decoders)), decoders[0].shape[1]
    within, across, floors = [], [], []
    for s, W in enumerate(decoders):
        own = cosines(W, W)
        np.fill_diagonal(own, -np.inf)
        within.append(own.max(axis=1))
        if len(decoders) > 1:
            others = np.concatenate([V for t, V in enumerate(decoders) if t != s])
            across.append(cosines(W, others).max(axis=1))
            floors.append(len(W) * np.sqrt(2 * np.log(total - len(W)) / d))
    matches = []
    if len({len(W) for W in decoders}) == 1:
        for A, B in itertools.combinations(decoders, 2):
            C = cosines(A, B)
            matches.append(C[scipy.optimize.linear_sum_assignment(C, maximize=True)].mean())
    return within, across, sum(floors) / total, matches


def check_figures(name, found, decoders):
    within, across, floor, matches = expected(decoders)
    for s, one in enumerate(found["dictionaries"]):
        near = np.abs(within[s] - 0.7) < CLOSE
        tap.check(abs(one["max_cos"] - within[s].mean()) < CLOSE, f"{name}: max_cos of {s}",
                  f"{one['max_cos']} {within[s].mean()}")
        tap.check(abs(one["diversity"] - np.sum(within[s] < 0.7)) <= np.sum(near), f"{name}: diversity of {s}",
                  f"{one['diversity']} {np.sum(within[s] < 0.7)}")
        if across:
            tap.check(abs(one["stability"] - across[s].mean()) < CLOSE, f"{name}: stability of {s}",
                      f"{one['stability']} {across[s].mean()}")
    if across:
        mean = np.concatenate(across).mean()
        tap.check(abs(found["stability"] - mean) < CLOSE, f"{name}: stability", f"{found['stability']} {mean}")
        tap.check(abs(found["stability_floor"] - floor) < 1e-12, f"{name}: its floor", found["stability_floor"])
    else:
        tap.check(found["stability"] is None and found["stability_floor"] is None, f"{name}: no stability of one")
    theirs = [pair["mean"] for pair in found["hungarian_pairs"]]
    tap.check(len(theirs) == len(matches) and np.allclose(theirs, matches, rtol=0, atol=CLOSE),
              f"{name}: the best matchings", f"{theirs} {matches}")
    tap.check(not matches or abs(found["hungarian"] - np.mean(matches)) < CLOSE, f"{name}: their mean")
    tap.check((found["hungarian_skipped"] is None) == bool(matches), f"{name}: says why none are matched",
              found["hungarian_skipped"])


def compare(name, config, models, *settings, layouts=tuple(LAYOUTS)):
    """The object, which must be the same bytes on every layout."""
    results = []
    for at, (ranks, layout) in enumerate(layouts):
        words = [f"compare.dictionaries=[{', '.join(models)}]", f"output=out-{name}", *layout, *settings]
        status, out, err = program.run(ranks, "compare", config, "--json", *[w for s in words for w in ("-s", s)])
        if not tap.check(status == 0, f"{name}: on {ranks} ranks, {layout}", err):
            return None
        results.append(out)
        if at == 0:
            with open(os.path.join(f"out-{name}", "compare.json"), encoding="utf-8") as file:
                written = json.load(file)
            tap.check(written.keys() == json.loads(out).keys(), f"{name}: compare.json has the same keys")
    tap.check(len(set(results)) == 1, f"{name}: the same bits on every layout", "\n".join(results))
    return json.loads(results[0])


def make_models(config, family):
    """Imports dictionaries [(name, W)]; paths of the model files."""
    models = []
    for name, W in family:
        write_dictionary(name, W)
        status, _, err = program.run(1, "import", config, "-s", f"import.input={name}", "-s",
                                     f"import.output={name}.h5")
        tap.check(status == 0, f"{name}: imports", err)
        models.append(f"{name}.h5")
    return models


def check_memory(config, models):
    """What a rank holds stays below what was said at the start, and that below the limit."""
    for limit in (28, 32, 100):
        status, out, err = program.run(2, "compare", config, "-s", f"compare.dictionaries=[{', '.join(models)}]", "-s",
                                       f"grid.memory={limit}", "-s", "output=out-memory")
        said = [line for line in out.splitlines() if "of which about" in line or "held at most" in line]
        if not tap.check(status == 0 and len(said) == 2, f"{limit} MiB a rank do", out + err):
            continue
        planned, held = (int(said[0].split("about ")[1].split()[0]), int(said[1].split("at most ")[1].split()[0]))
        tap.check(held <= planned <= limit, f"a rank holds {held} MiB, {planned} were planned, {limit} allowed")


def check_connectivity(name, config, found, models, tokens):
    for one, model in zip(found["dictionaries"], models):
        status, _, err = program.run(2, "encode", config, "-s", f"encode.model={model}", "-s", "encode.rows=holdout", "-s",
                                     f"encode.output=codes-{name}.h5")
        if not tap.check(status == 0, f"{name}: encodes", err):
            continue
        with h5py.File(f"codes-{name}.h5", "r") as file:
            codes = file["codes"]
            Z = scipy.sparse.csr_matrix((codes["data"][:] > 0, codes["indices"][:], codes["indptr"][:]),
                                        shape=codes.attrs["shape"]).astype(np.int64)[:tokens]
        n, pairs, alive = Z.shape[1], (Z.T @ Z).count_nonzero(), np.count_nonzero(Z.getnnz(axis=0))
        tap.check(one["alive"] == alive and abs(one["connectivity"] - (1 - pairs / n**2)) < 1e-12 and
                  abs(one["connectivity_alive"] - (1 - pairs / alive**2)) < 1e-12, f"{name}: connectivity of {model}",
                  f"{one} {pairs} {alive}")
    tap.check(found["tokens"] == tokens, f"{name}: over {tokens} tokens", found["tokens"])


def random_families(config):
    families = {
        "random": [(f"random{s}", random_rows(s, 333, 45)) for s in range(2)],
        "one": [("alone", random_rows(9, 130, 33))],
        "awkward": [(f"awkward{s}", awkward_rows(s % 2, 130, 33)) for s in range(3)],
        "few": [(f"few{s}", few_directions(s, 97, 3)) for s in range(2)],
        "sizes": [("size200", random_rows(4, 200, 20)), ("size71", random_rows(5, 71, 20)),
                  ("size6", random_rows(6, 6, 20))],
    }
    for name, family in families.items():
        models = make_models(config, family)
        found = compare(name, config, models)
        if found is not None:
            check_figures(name, found, [np.float32(W).astype(np.float64) for _, W in family])
            tap.check(found["tokens"] is None and found["dictionaries"][0]["connectivity"] is None,
                      f"{name}: no store, no connectivity")
    found = compare("limited", config, ["random0.h5", "random1.h5"], "compare.hungarian=332", layouts=LAYOUTS[1:2])
    tap.check(found is not None and found["hungarian"] is None and "332" in found["hungarian_skipped"],
              "too many latents to match are said", found)


def trained_dictionaries():
    """Runs on the sample: a directory, a checkpoint, an average of the weights, a BatchTopK one."""
    config = {"output": "none", "data": {"store": SAMPLE, "holdout": 1500},
              "model": {"latents": 1000, "k": 8},
              "train": {"tokens": 8192, "batch": 1024, "sample": 2000, "eval_steps": 0, "warmup_steps": 0, "lr": 1e-3,
                        "threshold": {"start_step": 2}}}
    with open("sample.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    variants = {"a": [], "b": ["train.seed=2"], "c": ["train.seed=3", "train.ema=0.9"],
                "d": ["train.seed=4", "model.select=batch_topk"]}
    for name, settings in variants.items():
        words = [f"output={name}", *settings]
        status, _, err = program.run(2, "train", "sample.json", *[w for s in words for w in ("-s", s)])
        tap.check(status == 0, f"{name}: trains", err)
    files = [program.checkpoint_path(name, 8) for name in variants]
    models = ["a", files[1], "c", "d"]
    found = compare("sample", "sample.json", models, "compare.tokens=1200", "grid.memory=60")
    if found is None:
        return
    check_figures("sample", found, [decoder(file) for file in files])
    check_connectivity("sample", "sample.json", found, models, 1200)
    status, out, err = program.run(3, "eval", "sample.json", "--json", "-s", "output=c", "-s", "eval.shrinkage_rows=0")
    tap.check(status == 0 and json.loads(out)["max_cos"] == found["dictionaries"][2]["max_cos"],
              "max_cos is that of eval, bit for bit", err)
    check_memory("sample.json", models)


with program.Directory() as temporary:
    os.chdir(temporary)
    with open("c.yaml", "w", encoding="utf-8") as file:
        file.write("output: out\ncompare: {dictionaries: none.h5}\nimport: {input: x, output: x.h5}\n")
    random_families("c.yaml")
    trained_dictionaries()
    os.chdir("/")
tap.done()
