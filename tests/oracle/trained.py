"""Small training runs for tests: a store of mixtures of planted directions, a configuration, what a run says."""
import json
import os

import numpy as np

import program

# What a line of metrics.jsonl says that does not depend on the clock.
EXACT = ("step", "tokens", "loss", "k", "threshold", "fvu", "aux_fvu", "l0", "dead", "lr", "grad_norm", "checksum",
         "heldout_ev", "heldout_mse", "heldout_l0")


def planted_rows(rows, d, seed=5):
    """Sparse mixtures of 2 d random directions, off centre, with noise."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(2 * d, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = (rng.random((rows, 2 * d)) < 4 / d) * rng.uniform(1, 3, size=(rows, 2 * d))
    return codes @ directions + 0.05 * rng.normal(size=(rows, d)) + 0.3


def make_store(directory, rows, d):
    program.write_store(os.path.join(directory, "store.h5"), planted_rows(rows, d))


def write_config(directory, **keys):
    """A configuration on the directory's store; keys such as train__batch=64 replace or add to its own."""
    path = os.path.join(directory, "config.yaml")
    base = {"data": {"store": os.path.join(directory, "store.h5"), "holdout": 100},
            "model": {"latents": 331, "k": 7},
            "train": {"tokens": 3000, "batch": 150, "lr": 2e-3, "warmup_steps": 4, "sample": 1000, "log_steps": 1,
                      "eval_steps": 10, "aux": {"k": 16, "dead_tokens": 150},
                      "checkpoint": {"every_minutes": 0, "every_steps": 0, "keep": 2}}}
    for key, value in keys.items():
        *sections, name = key.split("__")
        at = base
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"output": os.path.join(directory, "run"), **base}, file)  # JSON is YAML
    return path


def lines(run):
    """The lines of metrics.jsonl."""
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def exact_lines(run):
    """The lines of metrics.jsonl without what the clock decides."""
    return [{key: line[key] for key in EXACT if key in line} for line in lines(run)]


def run_facts(run):
    with open(os.path.join(run, "run.json"), encoding="utf-8") as file:
        return json.load(file)
