#!/usr/bin/python3
# seconds: 900
"""`hpsae pca` with pca.whiten writes W (x - mu) as NumPy has it, W = (C + eps I)^(-1/2) of the training rows: their
covariance becomes the identity (without shrinking), tokens and labels stay beside their rows, gradients become W^-1 g.

The copy is the same bytes on 1, 2, 3 and 5 ranks and with 2 threads, and after a job that was killed while writing, of
which nothing stands under the final name. What is trained on it says so, is refused the store that is not
whitened, and its export is a dictionary of the activations as they are: whiten, encode, decode and take back in NumPy gives
the same to 1e-5. What does not go together is said in one line.
"""
import json
import os
import shutil
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "oracle"), os.path.join(HERE, "..", "analysis")]
import h5py
import numpy as np

import ensemble_loader
import kills
import program
import refusal
import tap
import trained

ROWS, D, HOLDOUT, FIRST = 9000, 37, 900, 5001  # FIRST: rows of the first file
LAYOUTS = [(1, 1), (2, 1), (1, 2), (3, 1), (5, 2)]  # ranks, threads
FORWARD = 1e-5


def must(command, *settings, ranks=1, threads=1):
    status, out, err = program.run(ranks, command, "c.json", *[w for s in settings for w in ("-s", s)], threads=threads)
    tap.check(status == 0, f"{command} {' '.join(settings)}, {ranks} ranks", out + err)
    return out + err


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def make_rows(rows, d, seed):
    """Sparse mixtures, stretched, so that variances differ 1e4-fold, off centre."""
    rng = np.random.default_rng(seed)
    return np.float32(trained.planted_rows(rows, d, seed) @ np.diag(np.geomspace(0.05, 5, d)) @ rng.normal(size=(d, d)) + 3)


def write_files(x, g):
    """The store, in two files, with tokens, labels and gradients."""
    for path, part in (("store/a.h5", slice(0, FIRST)), ("store/b.h5", slice(FIRST, None))):
        program.write_store(path, x[part], gradients=g[part])
        with h5py.File(path, "a") as file:
            file["tokens/id"] = np.arange(ROWS, dtype=np.int32)[part]
            file["tokens/document"] = np.arange(ROWS, dtype=np.int64)[part] // 7
            file["labels/task"] = (np.arange(ROWS, dtype=np.int32) % 3)[part]
            file.attrs["context_size"] = 128


class Oracle:
    """The map of the training rows."""

    def __init__(self, x, shrink):
        fitted = x[:-HOLDOUT].astype(np.float64)
        self.mean = fitted.mean(axis=0)
        self.C = (fitted - self.mean).T @ (fitted - self.mean) / len(fitted)
        self.eps = shrink * np.trace(self.C) / len(self.C)
        size, V = np.linalg.eigh(self.C)
        self.shrunk = size / (size + self.eps)
        self.V = V
        self.W = V / np.sqrt(size + self.eps) @ V.T
        self.inverse = V * np.sqrt(size + self.eps) @ V.T


def worst(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def check_copy(name, path, x, g, shrink):
    oracle = Oracle(x, shrink)
    with h5py.File(path, "r") as file:
        tap.check(worst(file["whitening/mean"][...], oracle.mean) < 1e-13, f"{name}: mean")
        for key, theirs in (("W", oracle.W), ("inverse", oracle.inverse)):
            ours = file[f"whitening/{key}"][...]
            tap.check(worst(ours, theirs) < 1e-7 and np.array_equal(ours, ours.T), f"{name}: {key}", worst(ours, theirs))
        data = file["activations/test"]
        white = data[...].astype(np.float64)
        tap.check(data.dtype == np.float32 and worst(white, (x - oracle.mean) @ oracle.W) < 1e-6, f"{name}: rows")
        tap.check(worst(data.attrs["mean"], white.mean(axis=0)) < 1e-9 and
                  abs(data.attrs["mean_sq_norm"] - np.mean(np.sum(white**2, axis=1))) < 1e-9 * D, f"{name}: statistics")
        C = np.cov(white[:-HOLDOUT].T, bias=True)
        wanted = oracle.V * oracle.shrunk @ oracle.V.T
        tap.check(np.abs(C - wanted).max() < 1e-5, f"{name}: covariance", np.abs(C - wanted).max())
        tap.check(shrink > 0 or np.abs(C - np.eye(D)).max() < 1e-5, f"{name}: which is the identity without shrinking")
        gradients = file["gradients/test"]
        tap.check(worst(gradients[...], g.astype(np.float64) @ oracle.inverse) < 1e-6 and
                  abs(gradients.attrs["rms_norm"] - program.rms_norm(gradients[...])) < 1e-9 * gradients.attrs["rms_norm"],
                  f"{name}: gradients")
        tap.check(np.array_equal(file["tokens/id"][...], np.arange(ROWS)) and
                  np.array_equal(file["tokens/document"][...], np.arange(ROWS) // 7) and
                  np.array_equal(file["labels/task"][...], np.arange(ROWS) % 3), f"{name}: tokens and labels")
        tap.check(file.attrs["model_name"] == "none" and file.attrs["shuffled"] == 1 and file.attrs["context_size"] == 128 and
                  file.attrs["whitening_rows"] == ROWS - HOLDOUT and file.attrs["whitening_shrink"] == shrink,
                  f"{name}: attributes", dict(file.attrs))


def copies(x, g):
    """Every layout; leaves white.h5."""
    for ranks, threads in LAYOUTS:
        said = must("pca", f"pca.whiten=there/{ranks}-{threads}.h5", ranks=ranks, threads=threads)
        tap.check("9000 whitened rows" in said and os.path.exists("out/pca.h5"), "says what it did", said)
        tap.check(contents(f"there/{ranks}-{threads}.h5") == contents("there/1-1.h5"),
                  f"the same bytes on {ranks} ranks, {threads} threads")
    tap.check(sorted(os.listdir("there")) == sorted(f"{p}-{t}.h5" for p, t in LAYOUTS), "nothing unfinished is left")
    check_copy("shrunk", "there/5-2.h5", x, g, 1e-3)
    shutil.move("there/5-2.h5", "white.h5")
    must("pca", "pca.whiten=exact.h5", "pca.shrink=0", "pca.batch=64", ranks=2)
    check_copy("exact", "exact.h5", x, g, 0)
    before = contents("white.h5")
    said = must("pca", "pca.whiten=white.h5", ranks=2)
    tap.check("it stays" in said and contents("white.h5") == before, "a copy that is there stays", said)
    tap.check("whitening" in json.loads(program.run(1, "info", "white.h5", "--json")[1]), "info tells that it is whitened")


def killed():
    """A job that is killed as soon as it writes; the next one."""
    program.write_store("large.h5", np.tile(np.random.default_rng(4).normal(size=(3000, 256)), (10, 1)))
    settings = ["data.store=large.h5", "output=large"]
    words = [w for s in (*settings, "pca.whiten=torn.h5") for w in ("-s", s)]
    stopped = False
    for _ in range(5):
        os.makedirs("mpi", exist_ok=True)
        job = kills.start(2, "mpi", "pca", "c.json", *words)
        while job.poll() is None and not os.path.exists("torn.h5.tmp"):
            time.sleep(0.002)
        running, said = kills.kill(job, True)
        if not os.path.exists("torn.h5"):
            stopped = running and os.path.exists("torn.h5.tmp")
            break
        os.remove("torn.h5")
    if tap.check(stopped, "a job is killed while it writes", said):
        refusal.check("an unfinished copy", ["pca", "c.json", "-s", "data.store=torn.h5.tmp"],
                      "torn.h5.tmp: torn: the program that wrote it was ended before it had finished; write it again",
                      ranks=(1,), anyhow="torn.h5.tmp: .*")
    must("pca", *settings, "pca.whiten=torn.h5", ranks=3)
    must("pca", *settings, "pca.whiten=straight.h5")
    tap.check(contents("torn.h5") == contents("straight.h5") and not os.path.exists("torn.h5.tmp"),
              "then it is written again, the same bytes")


def forward_exported(folder, x):
    with open(os.path.join(folder, "cfg.json"), encoding="utf-8") as file:
        config = json.load(file)
    tensors = ensemble_loader.read_tensors(os.path.join(folder, "sae_weights.safetensors"))
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    p = (x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    z = select(p, config.get("k"), t.get("threshold"))
    return z, z @ t["W_dec"] + t["b_dec"]


def select(p, k, threshold):
    if threshold is not None:
        return p * (p > threshold)
    p = np.maximum(p, 0)
    p[np.arange(len(p))[:, None], np.argsort(-p, axis=1, kind="stable")[:, k:]] = 0
    return p


def forward_whitened(checkpoint, x):
    """Whiten, model, take back."""
    with h5py.File("white.h5", "r") as file:
        mean, W, inverse = (file[f"whitening/{key}"][...] for key in ("mean", "W", "inverse"))
    with h5py.File(checkpoint, "r") as file:
        v = program.read_params(file, "value")
        s, k, threshold = file.attrs["scale"], int(file.attrs["k"]), float(file.attrs["threshold"])
        by_threshold = threshold >= 0
    p = (s * ((x - mean) @ W) - v.b_dec) @ v.W_enc.T + v.b_enc
    z = select(p, k, threshold if by_threshold else None)
    return z / s, (z @ v.W_dec + v.b_dec) / s @ inverse + mean


def exports(x):
    held_out = x[-HOLDOUT:].astype(np.float64)
    for name, settings in (("topk", []), ("batch", ["model.select=batch_topk", "train.ema=0"]),
                           ("unscaled", ["data.scale=none"])):
        said = must("train", f"output={name}", "data.store=white.h5", *settings)
        tap.check("the store is whitened: ev and mse are those of whitened activations" in said, f"{name}: training says so",
                  said)
        for ranks in (1, 3):
            must("export", f"output={name}", f"export.output=export-{name}-{ranks}", ranks=ranks)
        one, three = (f"export-{name}-{ranks}/sae_weights.safetensors" for ranks in (1, 3))
        tap.check(contents(one) == contents(three), f"{name}: the same export on 3 ranks")
        z, xhat = forward_exported(f"export-{name}-1", held_out)
        z_ours, ours = forward_whitened(program.checkpoint_path(name, 20), held_out)
        fire = np.mean((z > 0) != (z_ours > 0))
        tap.check(fire == 0 and worst(z, z_ours) < FORWARD, f"{name}: exported codes", f"{fire} {worst(z, z_ours)}")
        tap.check(worst(xhat, ours) < FORWARD, f"{name}: exported forward", worst(xhat, ours))
    found = json.loads(program.run(2, "eval", "c.json", "-s", "output=topk", "-s", "data.store=white.h5", "--json")[1])
    tap.check(found["space"] == "whitened", "eval says that its figures are of whitened activations", found)
    must("import", "import.input=export-topk-1", "import.output=raw.h5")
    raw = json.loads(program.run(2, "eval", "c.json", "-s", "eval.model=raw.h5", "--json")[1])
    xhat = forward_whitened(program.checkpoint_path("topk", 20), held_out)[1]
    ev = 1 - np.sum((held_out - xhat) ** 2) / np.sum((held_out - held_out.mean(axis=0)) ** 2)
    tap.check("space" not in raw and abs(raw["ev"] - ev) < 1e-5, "the import of an export is of the activations as they are",
              f"{raw['ev']} {ev}")


def left_whitened():
    said = must("export", "output=topk", "export.whitening=none", "export.output=as-is")
    with open("as-is/cfg.json", encoding="utf-8") as file:
        tap.check("for whitened activations" in said and "hpsae_whitening" in json.load(file)["metadata"],
                  "an export for whitened activations says so", said)
    with h5py.File(program.checkpoint_path("topk", 20), "r") as file:
        tap.check(np.array_equal(ensemble_loader.read_tensors("as-is/sae_weights.safetensors")["W_enc"].T, file["value/W_enc"][...]),
                  "and is the dictionary as it was trained")
    must("refit", "refit.model=topk", "refit.output=refit.h5", "data.store=white.h5")
    must("export", "export.model=refit.h5", "export.whitening=white.h5", "export.output=refitted", ranks=2)


def chains():
    """Later stages see what is left of whitened activations, from files or live, and do not pass for a dictionary of either."""
    words = ["data.store=white.h5", "ensemble.method=boosting", "ensemble.members=2"]
    must("train", "output=chain", *words)
    must("train", "output=live", "ensemble.residuals=live", *words)
    marks = []
    for run in ("chain", "live"):
        for stage in (1, 2):
            with h5py.File(program.checkpoint_path(f"{run}/stage-{stage}", 20), "r") as file:
                marks.append(file.attrs["whitening"])
    tap.check(marks[:2] == marks[2:] and marks[0] != marks[1], "stages of a chain say what they were trained on", marks)
    tap.check("whitened" in must("eval", "eval.model=chain", "data.store=white.h5", "output=chain-eval"),
              "eval of a chain says so too")
    say = "; say none to export it for whitened activations, or name a member in export.model"
    refusal.check("an ensemble of whitened activations", ["export", "c.json", "-s", "export.model=chain"],
                  "c.json:1:1: export.whitening: the ensemble was trained on whitened activations, which is folded into single "
                  "dictionaries alone" + say)
    refusal.check("a later stage", ["export", "c.json", "-s", "export.model=chain/stage-2", "-s", "export.whitening=white.h5"],
                  "-s export.whitening=white.h5: white.h5 is whitened otherwise than the store that the model was trained on; "
                  "name that one, or say none to export it for whitened activations")


def refusals(x):
    rows = x[:1000].copy()
    rows[:, 5] = 1
    program.write_store("flat.h5", rows)
    rows = x.copy()
    rows[-3, 7] = np.nan  # held out: not among the rows that are fitted
    with h5py.File("nan.h5", "w") as file:
        file["activations/test"] = rows
    with open("a-file", "w", encoding="utf-8"):
        pass
    needs = "name the store that pca.whiten wrote, or say none to export it for whitened activations"
    nan_row = "nan.h5: row 8997 of test holds a NaN or an infinity; run `hpsae shuffle` with data.skip_bad_rows: true"
    for name, command, settings, line in (
            ("token normalisation", "pca", ["pca.whiten=new.h5", "data.scale=token"],
             "-s data.scale=token: token is another factor for each row, and pca.whiten is one map for all; allowed with it: "
             "none | dataset"),
            ("the store itself", "pca", ["pca.whiten=store"], "-s pca.whiten=store: is also the store; allowed: another path"),
            ("the components' file", "pca", ["pca.whiten=p.h5", "pca.output=p.h5"],
             "-s pca.whiten=p.h5: is also pca.output; allowed: another path"),
            ("a negative eps", "pca", ["pca.shrink=-1"], '-s pca.shrink=-1: "-1" is out of range; allowed: number at least 0'),
            ("another file in its place", "pca", ["pca.whiten=white.h5", "pca.shrink=0.1"],
             "white.h5: exists already, and was not made from this input by this configuration; remove it, or set another "
             "pca.whiten"),
            ("a whitened store", "pca", ["pca.whiten=new.h5", "data.store=white.h5"],
             "-s data.store=white.h5: is whitened already; whiten the store that it was made from"),
            ("a column without variance", "pca", ["pca.whiten=new.h5", "data.store=flat.h5", "pca.shrink=0"],
             "-s pca.shrink=0: 0 leaves the covariance of 100 rows in 37 columns singular: some components have no variance; "
             "set a larger one, say 1e-3"),
            ("fewer rows than columns", "pca", ["pca.whiten=new.h5", "data.holdout=8980", "pca.shrink=0"],
             "-s pca.shrink=0: 0 leaves the covariance of 20 rows in 37 columns singular: some components have no variance; "
             "set a larger one, say 1e-3"),
            ("NaN in a row that is not fitted", "pca", ["pca.whiten=new.h5", "data.store=nan.h5", "pca.rows=train"],
             {1: nan_row, 3: "rank 2: " + nan_row}),
            ("a copy below a file", "pca", ["pca.whiten=a-file/new.h5"], "a-file: is not a directory; choose another path"),
            ("a model of whitened activations on others", "eval", ["eval.model=topk"],
             "topk was trained on whitened activations, and the store test is not whitened; choose the store that it was trained "
             "on, or export the model (its export is for activations as they are) and import that"),
            ("going on with another store", "train", ["output=topk"],
             "topk/checkpoint-000000000020.h5: a checkpoint of a run on these whitened activations, which the store's are not; "
             "choose the store that it was trained on, or another output"),
            ("an export without its map", "export", ["export.model=refit.h5"],
             "c.json:1:1: export.whitening: the model was trained on whitened activations, of a store that its file does not "
             "name; name that store, or say none to export it for whitened activations"),
            ("an export with a store of no map", "export", ["export.model=topk", "export.whitening=flat.h5"],
             "-s export.whitening=flat.h5: the model was trained on whitened activations, and flat.h5: holds no whitening: not "
             "a store that pca.whiten wrote; " + needs),
            ("an export with no store", "export", ["export.model=topk", "export.whitening=none.h5"],
             "-s export.whitening=none.h5: the model was trained on whitened activations, and none.h5: cannot be opened: No such "
             "file or directory; " + needs),
            ("an export with another map", "export", ["export.model=topk", "export.whitening=exact.h5"],
             "-s export.whitening=exact.h5: exact.h5 is whitened otherwise than the store that the model was trained on; name "
             "that one, or say none to export it for whitened activations"),
            ("a map for a model without", "export", ["export.model=raw.h5", "export.whitening=white.h5"],
             "-s export.whitening=white.h5: the model was not trained on whitened activations; leave it out")):
        refusal.check(name, [command, "c.json", *[w for s in settings for w in ("-s", s)]], line,
                      ranks=(1, 3) if isinstance(line, dict) or "singular" in line else (3,))
    os.rename("white.h5", "moved.h5")
    refusal.check("an export whose store has gone", ["export", "c.json", "-s", "output=topk"],
                  "c.json:1:1: export.whitening: the model was trained on whitened activations, and white.h5: cannot be opened: "
                  "No such file or directory; " + needs)
    with h5py.File("moved.h5", "a") as file:
        file["whitening/W"][3, 4] += 1e-9
    refusal.check("a damaged map", ["export", "c.json", "-s", "output=topk", "-s", "export.whitening=moved.h5"],
                  "-s export.whitening=moved.h5: the model was trained on whitened activations, and moved.h5: its whitening is "
                  "damaged; write the copy again with hpsae pca; " + needs)


with program.Directory() as temporary:
    os.chdir(temporary)
    os.mkdir("store")
    rows = make_rows(ROWS, D, 1)
    gradients = np.float32(np.random.default_rng(2).normal(size=rows.shape))
    write_files(rows, gradients)
    with open("c.json", "w", encoding="utf-8") as config:
        json.dump({"output": "out", "data": {"store": "store", "holdout": HOLDOUT},
                   "model": {"latents": 90, "k": 5},
                   "train": {"tokens": 8000, "batch": 400, "lr": 3e-3, "warmup_steps": 0, "sample": 500, "eval_steps": 10,
                             "aux": {"k": 0}, "threshold": {"start_step": 5, "decay": 0.9}},
                   "refit": {"output": "refit.h5"}, "import": {"input": "none", "output": "none"},
                   "encode": {"output": "codes.h5"}}, config)
    copies(rows, gradients)
    killed()
    exports(rows)
    left_whitened()
    chains()
    refusals(rows)
    os.chdir("/")
tap.done()
