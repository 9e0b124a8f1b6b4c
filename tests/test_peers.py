#!/usr/bin/python3
# seconds: 900
"""SAELens, sparsify and dictionary_learning compute what we compute, from what we export; and we what the first two
compute, from what they save.

Models trained on real activations, with and without a scale to fold, are exported: TopK as it is, at another k, and its
first latents alone; BatchTopK and Matryoshka BatchTopK with their threshold.  SAELens (`SAE.load_from_disk`), sparsify
(`SparseCoder.load_from_disk`) and, by analysis/export_dictionary_learning.py, dictionary_learning (`load_dictionary`)
load the folders, and their forward pass on 1,000 real rows agrees with our definition (math.md 1, in NumPy and double
precision, from the checkpoint) to 1e-5 of each row's norm.  The other way round, folders that SAELens and sparsify save
are imported, and our definition from the imported file agrees with theirs.

They run under PEERS_PYTHON (default python3); where they are not installed there, the test is skipped.
"""
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "oracle"))
import h5py
import numpy as np
import program
import tap

STORE = os.path.join(HERE, "..", "data", "smollm2-sample.h5")
HOOK = "blocks.15.hook_resid_post"
ROWS, POOL, TOLERANCE = 1000, 1300, 1e-5
LATENTS, K = 1000, 32
FOREIGN = [("SAELens", {"rescale": True, "centred": True, "dtype": "float32"}),
           ("SAELens", {"rescale": False, "centred": False, "dtype": "float32"}),
           ("SAELens", {"rescale": False, "centred": True, "dtype": "bfloat16"}),
           ("SAELens BatchTopK", {}),
           ("sparsify", {})]
# Of each run: how it is trained, and what is exported of it: program, k, prefix (0: the model's).
PEERS = ("SAELens", "sparsify", "dictionary_learning")
THRESHOLD_PEERS = (("SAELens", 0, 0), ("dictionary_learning", 0, 0), ("SAELens", 0, 125))
BATCH = {"model": {"select": "batch_topk"}, "train": {"threshold": {"start_step": 3, "decay": 0.5}}}
RUNS = {
    "TopK, scale none": ({"data": {"scale": "none"}}, [(name, 0, 0) for name in PEERS]),
    "TopK, scale dataset": ({}, [*((name, 0, 0) for name in PEERS), ("SAELens", 0, 301), ("sparsify", 5, 301)]),
    "HierarchicalTopK": ({"train": {"objective": "hierarchical"}},
                         [("SAELens", 8, 0), ("sparsify", 64, 0), ("dictionary_learning", 8, 250)]),
    "BatchTopK, scale none": ({**BATCH, "data": {"scale": "none"}}, THRESHOLD_PEERS),
    "BatchTopK, scale dataset": (BATCH, THRESHOLD_PEERS),
    "Matryoshka BatchTopK": ({**BATCH, "train": {**BATCH["train"], "objective": "matryoshka",
                                                 "matryoshka": {"prefixes": [125, 500, LATENTS]}}}, THRESHOLD_PEERS),
}


def definition(path, rows, k, prefix):
    """xhat in double precision, and the rows of which float32 cannot blur the choice of latents."""
    with h5py.File(path, "r") as file:
        role = file["average"] if "average" in file else file["value"]
        e, e_bias, w, b = (role[name][...].astype(np.float64) for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
        scale, k, threshold = float(file.attrs["scale"]), k or int(file.attrs["k"]), float(file.attrs["threshold"])
        by_threshold = file.attrs["select"] == b"batch_topk"
    if prefix:
        e, e_bias, w = e[:prefix], e_bias[:prefix], w[:prefix]
    y = rows.astype(np.float64) * scale - b
    p = y @ e.T + e_bias
    size = np.linalg.norm(y, axis=1) * np.linalg.norm(e, axis=1).max()
    blur = 4 * np.finfo(np.float32).eps * rows.shape[1]**0.5 * size
    if by_threshold:
        z = np.where(p > threshold, p, 0)
        tap.note(f"threshold {threshold:.4g}, {np.mean(np.sum(z > 0, axis=1)):.1f} latents a row")
        return (z @ w + b) / scale, np.abs(p - threshold).min(axis=1) > blur
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    clear = (ranked[:, k - 1] - ranked[:, k] > blur) | (ranked[:, k - 1] < -blur)
    z = np.zeros_like(p)
    np.put_along_axis(z, order[:, :k], np.maximum(ranked[:, :k], 0), axis=1)
    return (z @ w + b) / scale, clear


def compare(task, theirs, rows):
    name = task["name"]
    ours, clear = definition(task["model"], rows, task["k"], task["prefix"])
    chosen = np.flatnonzero(clear)[:ROWS]
    error = np.linalg.norm(theirs[chosen] - ours[chosen], axis=1) / np.linalg.norm(ours[chosen], axis=1)
    worst = error.max() if len(chosen) else np.inf
    tap.note(f"{name}: largest relative difference {worst:.2e}, median {np.median(error):.2e}; "
             f"{np.count_nonzero(~clear)} of {len(rows)} rows set aside for a tie at the edge of the choice")
    tap.check(len(chosen) == ROWS and worst <= TOLERANCE, f"{name} to {TOLERANCE:g} on {ROWS} rows", worst)


def real_rows():
    with h5py.File(STORE, "r") as file:
        words = file[f"activations/{HOOK}"][2:2 + 15 * POOL:15]
    return (words.astype(np.uint32) << 16).view(np.float32)


def call_peers(*arguments):
    environment = {**os.environ, "SPARSIFY_DISABLE_TRITON": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
                   "WANDB_MODE": "disabled"}
    command = [os.environ.get("PEERS_PYTHON", "python3"), os.path.join(HERE, "oracle", "peers.py"), *arguments]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def hpsae(ranks, command, directory, settings):
    """Runs a command with these settings; a failure is a failed test point."""
    config = os.path.join(directory, f"{command}.yaml")
    with open(config, "w", encoding="utf-8") as file:
        json.dump(settings, file)  # JSON is YAML
    status, out, err = program.run(ranks, command, config)
    return status == 0 or tap.check(False, f"hpsae {command}", out + err)


def train(directory, run, changes):
    """A short run; returns its settings and its checkpoint."""
    settings = {"output": os.path.join(directory, run), "data": {"store": STORE, "holdout": 1024, "scale": "dataset"},
                "model": {"latents": LATENTS, "k": K},
                "train": {"tokens": 8192, "batch": 1024, "lr": 1e-3, "warmup_steps": 2, "sample": 4096}}
    for section, keys in changes.items():
        settings[section].update(keys)
    good = hpsae(2, "train", directory, settings)
    return (settings, program.checkpoint_path(settings["output"], 8)) if good else (None, None)


def to_dictionary_learning(folder):
    """A SAELens folder, by the script that is part of the product; it needs the peers' interpreter."""
    script, output = os.path.join(HERE, "..", "analysis", "export_dictionary_learning.py"), folder + "-pt"
    done = subprocess.run([os.environ.get("PEERS_PYTHON", "python3"), script, folder, output], capture_output=True,
                          text=True, check=False)
    tap.check(done.returncode == 0 and sorted(os.listdir(output)) == ["ae.pt", "config.json"],
              "a folder of dictionary_learning is written", done.stdout + done.stderr)
    return output


def export_model(directory, settings, name, k, prefix):
    """The folder that the peer is to load; None when the export failed."""
    folder = os.path.join(settings["output"], f"{name}-{k}-{prefix}")
    settings["export"] = {"format": "sparsify" if name == "sparsify" else "saelens", "output": folder,
                          **({"k": k} if k else {}), **({"prefix": prefix} if prefix else {})}
    if not hpsae(3, "export", directory, settings):
        return None
    if name == "dictionary_learning":
        return to_dictionary_learning(folder)
    return os.path.join(folder, HOOK) if name == "sparsify" else folder


def export_models(directory):
    """Tasks for the peers: folders of ours to load."""
    for number, (run, (changes, exports)) in enumerate(RUNS.items()):
        settings, checkpoint = train(directory, f"run-{number}", changes)
        for name, k, prefix in exports if settings else ():
            folder = export_model(directory, settings, name, k, prefix)
            words = (f", k {k}" if k else "") + (f", the first {prefix} latents" if prefix else "")
            if folder is not None:
                yield {"program": name, "folder": folder, "make": None, "model": checkpoint, "k": k, "prefix": prefix,
                       "name": f"{name} from our export, {run}{words}"}


def foreign_models(directory):
    """Tasks for the peers: folders of their own to save."""
    for index, (name, make) in enumerate(FOREIGN):
        words = ", ".join(f"{key} {value}" for key, value in make.items())
        yield {"program": name, "folder": os.path.join(directory, f"foreign-{index}"), "make": make,
               "model": os.path.join(directory, f"foreign-{index}.h5"), "k": 0, "prefix": 0,
               "name": f"our import from {name} ({words})"}


found = call_peers("versions")
if found.returncode != 0:
    reason = found.stderr.strip().splitlines() or ["no interpreter"]
    tap.skip_all("sae-lens, eai-sparsify or dictionary-learning is not installed for "
                 f"{os.environ.get('PEERS_PYTHON', 'python3')}: {reason[-1]}")
tap.note(found.stdout.strip().splitlines()[-1])

with program.Directory() as path:
    rows = real_rows()
    np.save(os.path.join(path, "rows.npy"), rows)
    tasks = [*export_models(path), *foreign_models(path)]
    for index, task in enumerate(tasks):
        task["output"] = os.path.join(path, f"theirs-{index}.npy")
    with open(os.path.join(path, "job.json"), "w", encoding="utf-8") as job:
        json.dump({"rows": os.path.join(path, "rows.npy"), "tasks": tasks}, job)
    done = call_peers(os.path.join(path, "job.json"))
    if tap.check(done.returncode == 0, "the other programs load what we export and save what we import", done.stderr):
        for task in tasks:
            there = {"input": task["folder"], "output": task["model"]}
            if task["make"] is None or hpsae(2, "import", path, {"import": there}):
                compare(task, np.load(task["output"]), rows)
tap.done()
