#!/usr/bin/python3
# seconds: 900
"""SAELens and sparsify compute what we compute, from what we export; and we what they compute, from what they save.

Models trained on real activations, with and without a scale to fold, are exported; SAELens (`SAE.load_from_disk`) and
sparsify (`SparseCoder.load_from_disk`) load the folders, and their forward pass on 1,000 real rows agrees with our
definition (math.md 1, in NumPy and double precision, from the checkpoint) to 1e-5 of each row's norm.  The other way
round, folders that the two programs save are imported, and our definition from the imported file agrees with theirs.

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
           ("sparsify", {})]


def definition(path, rows):
    """xhat in double precision, and the rows of which float32 cannot blur the choice of latents."""
    with h5py.File(path, "r") as file:
        role = file["average"] if "average" in file else file["value"]
        e, e_bias, w, b = (role[name][...].astype(np.float64) for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
        scale, k = float(file.attrs["scale"]), int(file.attrs["k"])
    y = rows.astype(np.float64) * scale - b
    p = y @ e.T + e_bias
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    blur = 4 * np.finfo(np.float32).eps * rows.shape[1]**0.5 * np.linalg.norm(y, axis=1) * np.linalg.norm(e, axis=1).max()
    clear = (ranked[:, k - 1] - ranked[:, k] > blur) | (ranked[:, k - 1] < -blur)
    z = np.zeros_like(p)
    np.put_along_axis(z, order[:, :k], np.maximum(ranked[:, :k], 0), axis=1)
    return (z @ w + b) / scale, clear


def compare(name, theirs, path, rows):
    ours, clear = definition(path, rows)
    chosen = np.flatnonzero(clear)[:ROWS]
    error = np.linalg.norm(theirs[chosen] - ours[chosen], axis=1) / np.linalg.norm(ours[chosen], axis=1)
    worst = error.max() if len(chosen) else np.inf
    tap.note(f"{name}: largest relative difference {worst:.2e}, median {np.median(error):.2e}; "
             f"{np.count_nonzero(~clear)} of {len(rows)} rows set aside for a tie at the k-th place")
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


def train(directory, scale):
    """A short run; returns its settings and its checkpoint."""
    run = os.path.join(directory, f"run-{scale}")
    settings = {"output": run, "data": {"store": STORE, "holdout": 1024, "scale": scale},
                "model": {"latents": LATENTS, "k": K},
                "train": {"tokens": 8192, "batch": 1024, "lr": 1e-3, "warmup_steps": 2, "sample": 4096}}
    good = hpsae(2, "train", directory, settings)
    return (settings, program.checkpoint_path(run, 8)) if good else (None, None)


def export_models(directory):
    """Tasks for the peers: folders of ours to load."""
    for scale in ("none", "dataset"):
        settings, checkpoint = train(directory, scale)
        for name in ("SAELens", "sparsify") if settings else ():
            folder = os.path.join(directory, f"{name}-{scale}")
            settings["export"] = {"format": name.lower(), "output": folder}
            if hpsae(3, "export", directory, settings):
                yield {"program": name, "folder": folder if name == "SAELens" else os.path.join(folder, HOOK),
                       "make": None, "model": checkpoint, "name": f"{name} from our export, scale {scale}"}


def foreign_models(directory):
    """Tasks for the peers: folders of their own to save."""
    for index, (name, make) in enumerate(FOREIGN):
        words = ", ".join(f"{key} {value}" for key, value in make.items())
        yield {"program": name, "folder": os.path.join(directory, f"foreign-{index}"), "make": make,
               "model": os.path.join(directory, f"foreign-{index}.h5"), "name": f"our import from {name} ({words})"}


found = call_peers("versions")
if found.returncode != 0:
    reason = found.stderr.strip().splitlines() or ["no interpreter"]
    tap.skip_all(f"sae-lens or eai-sparsify is not installed for {os.environ.get('PEERS_PYTHON', 'python3')}: {reason[-1]}")
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
            if task["make"] is None or hpsae(2, "import", path, {"import": {"input": task["folder"], "output": task["model"]}}):
                compare(task["name"], np.load(task["output"]), task["model"], rows)
tap.done()
