#!/usr/bin/python3
"""Trains what five papers compare, at a small scale, and writes a page on what agrees with them: make reproduce-small

    reproduce.py [--data STORE] [--test STORE] [--gradients STORE] [--out DIRECTORY] [--steps N] [--minutes N] ...

For each seed: TopK at each k, HierarchicalTopK, Multi-TopK, BatchTopK, Matryoshka BatchTopK; on a store with gradients
also TopK and g-SAE.  All are evaluated on rows never trained on.  The directory gets REPORT.md with two pictures.  What
is complete is not done again, so the same command goes on after an interruption or --minutes.
"""
import argparse
import collections
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import run_files  # first: it tells which package is missing

import h5py
import numpy as np

import activations
import reproduce_report
import stopping

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
STOPPED = stopping.STOPPED  # also when --minutes are over
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_orte_execute_quiet": "1", "OPENBLAS_NUM_THREADS": "1",
}

# A dictionary to train: `part` names the store, `keys` what differs from that part's configuration.
Training = collections.namedtuple("Training", "name part k keys")
# A store to train on, with its rows, and the rows to judge on: `plain` is a store of those without outliers, or None.
Part = collections.namedtuple("Part", "config rows test plain evaluated outliers")


def plan(ks, k, gradients):
    """The trainings of one seed."""
    largest = max(ks)
    trainings = [Training(f"topk-{each}", "main", each, {}) for each in ks] + [
        Training(f"hierarchical-{largest}", "main", largest, {"train.objective": "hierarchical"}),
        Training(f"multi-{k}", "main", k, {"train.objective": "multi_topk"}),
        Training(f"batch-{k}", "main", k, {"model.select": "batch_topk"}),
        Training(f"matryoshka-{k}", "main", k, {"model.select": "batch_topk", "train.objective": "matryoshka"})]
    if gradients:
        trainings += [Training(f"gradients-topk-{k}", "gradients", k, {}),
                      Training(f"gradients-gsae-{k}", "gradients", k, {"model.select": "gradient", "model.beta": 1})]
    return trainings


def sizes(rows, wanted):
    """Training settings that suit a store of so many rows: about an hour on two cores for all of a plan."""
    large = rows >= 500_000
    batch = 2048 if large else min(1024, max(32, rows // 16))
    steps = min(wanted, max(20, 12 * rows // batch))
    return {"holdout": min(4096, max(1, rows // 10)), "batch": batch, "steps": steps,
            "lr": "auto" if large else 2e-3}


def configuration(store, output, rows, options):
    """The configuration that all trainings on a store share."""
    size = sizes(rows, options.steps)
    steps, tokens = size["steps"], size["steps"] * size["batch"]
    return {
        "output": output,
        "data": {"store": store, "holdout": size["holdout"], "scale": "dataset"},
        "model": {"latents": options.latents, "k": options.k},
        "train": {
            "tokens": tokens, "batch": size["batch"], "lr": size["lr"], "warmup_steps": max(1, steps // 10),
            "decay": 0.2, "sample": min(32768, rows - size["holdout"]), "eval_steps": 0, "log_steps": 10,
            # The usual 1000 steps and 0.999 are for runs a hundred times as long.
            "threshold": {"start_step": steps // 2, "decay": 0.98},
            "aux": {"dead_tokens": max(1, tokens // 4)}, "checkpoint": {"every_minutes": 0, "keep": 1}},
        "eval": {"curve": max([*options.ks, 4 * options.k])},
    }


class Program:
    """Calls hpsae; what it says goes to a log."""

    def __init__(self, out):
        self.binary = os.environ.get("HPSAE", os.path.join(ROOT, "bin", "hpsae"))
        self.launcher = os.environ.get("MPIRUN", "mpirun").split()
        self.log = os.path.join(out, "log.txt")
        threads = os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
        self.environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": threads}
        self.own_cores = self.launcher[0] == "srun"  # each rank has --cpus-per-task of its own

    def status(self, command, config, keys, ranks=1):
        """`hpsae COMMAND CONFIG -s KEY=VALUE ...` on so many ranks, which share the threads; its exit status."""
        words = [word for key, value in keys.items() for word in ("-s", f"{key}={value}")]
        words = [*self.launcher, "-n", str(ranks), self.binary, command, config, *words]
        threads = max(1, int(self.environment["OMP_NUM_THREADS"]) // (1 if self.own_cores else ranks))
        status, said = stopping.run(words, env={**self.environment, "OMP_NUM_THREADS": str(threads)},
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(words)}\n{said}\n")
        if status not in (0, STOPPED):
            print(said[-2000:], file=sys.stderr)
        return status

    def __call__(self, command, config, keys):
        """The same on one rank; what it refuses or fails ends this script likewise."""
        status = self.status(command, config, keys)
        if status != 0:
            sys.exit(status if status in (2, STOPPED) else 1)


def about(path):
    """(whether its rows are in random order, whether it has gradients) of a store."""
    try:
        with h5py.File(activations.store_files([path])[0], "r") as file:
            return bool(file.attrs.get("shuffled", False)), "gradients" in file
    except (OSError, IndexError) as problem:
        raise run_files.Unusable(f"{path}: not an activation store in HDF5 ({problem})") from problem


def shuffled(program, path, out):
    """The store itself when its rows are in random order, else a shuffled copy of it in the output directory."""
    if about(path)[0]:
        return path
    if not os.path.exists(out):
        with open(out + ".yaml", "w", encoding="utf-8") as file:
            json.dump({"shuffle": {"input": path, "output": out, "memory": 256}}, file)
        program("shuffle", out + ".yaml", {})
    return out


def tail(path, first):
    """{dataset: (words, attributes)} of the rows from `first` on: activations, then gradients if there are any."""
    found = {}
    for name in activations.store_files([path]):
        with h5py.File(name, "r") as file:
            held = activations.dataset_of(file, "")
            hook, begin = os.path.basename(held.name), min(len(held), max(0, first))
            for at in (f"activations/{hook}", f"gradients/{hook}"):
                if at in file:
                    known = found.setdefault(at, ([], dict(file[at].attrs)))
                    known[0].append(file[at][begin:])
            first -= len(held)
    return {at: (np.concatenate(words), attributes) for at, (words, attributes) in found.items()}


def without_outliers(path, first, out):
    """Writes a store of the rows from `first` on whose norm is usual; (its path or None, rows looked at, outliers)."""
    datasets = tail(path, first)
    norms = np.linalg.norm(activations.floats(next(iter(datasets.values()))[0]), axis=1)
    kept = norms <= reproduce_report.OUTLIER * np.median(norms)
    if kept.all():
        return None, len(kept), 0
    with h5py.File(out + ".tmp", "w") as file:
        file.attrs.update({"format": "hpsae-activations", "format_version": 1, "shuffled": False})
        for at, (words, attributes) in datasets.items():
            data = file.create_dataset(at, data=words[kept])
            data.attrs.update({key: attributes[key] for key in ("logical_dtype", "hook_name", "rms_norm")
                               if key in attributes})
    os.replace(out + ".tmp", out)
    return out, len(kept), int(np.sum(~kept))


def prepare(program, options, name, path, test):
    """A Part: the store to train on, its configuration written, the rows to judge on without their outliers."""
    store = shuffled(program, path, os.path.join(options.out, f"{name}-store.h5"))
    rows, _ = activations.count_rows(store)
    config = configuration(store, os.path.join(options.out, name), rows, options)
    text = json.dumps(config, indent=2) + "\n"  # JSON is YAML
    place = os.path.join(options.out, f"{name}.yaml")
    if os.path.exists(place):
        with open(place, encoding="utf-8") as file:
            if file.read() != text:
                raise run_files.Unusable(f"{place}: of other data or settings; remove {options.out}, or name another "
                                         "directory with --out")
    with open(place, "w", encoding="utf-8") as file:
        file.write(text)
    first = 0 if test else rows - config["data"]["holdout"]
    plain, looked, outliers = without_outliers(test or store, first, os.path.join(options.out, f"{name}-plain.h5"))
    return Part(place, rows, test, plain, looked, outliers)


def is_complete(run):
    facts = run_files.read_json(os.path.join(run, "run.json")) or {}
    return facts.get("status") == "complete"


def evaluate(program, part, run):
    """eval.json on the rows to judge on, plain/eval.json on those that are no outliers."""
    if not os.path.exists(os.path.join(run, "eval.json")):
        own = {"eval.store": part.test, "eval.rows": "all"} if part.test else {}
        program("eval", part.config, {"output": run, **own})
    plain = os.path.join(run, "plain")
    if part.plain and not os.path.exists(os.path.join(plain, "eval.json")):
        program("eval", part.config, {"output": plain, "eval.model": run, "eval.store": part.plain, "eval.rows": "all",
                                      "eval.max_cos": "false", "eval.shrinkage_rows": 0})


def weight(training, parts):
    """About how long a training takes beside others, as measured on one machine; for the guess of the time left."""
    slots = 4 * training.k if "multi" in training.name else training.k
    method = 2 if "hierarchical" in training.name else 1.3 if training.keys else 1
    return run_files.read_json(parts[training.part].config)["train"]["tokens"] * (1 + slots / 100) * method


def train_all(program, options, parts, trainings):
    """Trains and evaluates what is missing; False when the time was over before all was done."""
    started, spent = time.monotonic(), 0.0
    todo = [(training, seed, os.path.join(options.out, training.name, f"seed-{seed}"))
            for seed in options.seeds for training in trainings]
    todo = [item for item in todo if not (is_complete(item[2]) and os.path.exists(os.path.join(item[2], "eval.json"))
                                          and (not parts[item[0].part].plain
                                               or os.path.exists(os.path.join(item[2], "plain", "eval.json"))))]
    for number, (training, seed, run) in enumerate(todo, 1):
        minutes = (time.monotonic() - started) / 60
        if options.minutes and minutes >= options.minutes:
            print(f"[{minutes:5.1f} min] {len(todo) - number + 1} trainings are left; the same command goes on")
            return False
        part = parts[training.part]
        if not is_complete(run):
            program("train", part.config, {"output": run, "model.k": training.k, "train.seed": seed, **training.keys})
        evaluate(program, part, run)
        spent += weight(training, parts)
        minutes = (time.monotonic() - started) / 60
        left = minutes / spent * sum(weight(item[0], parts) for item in todo[number:])
        ev = run_files.read_json(os.path.join(run, "plain" if part.plain else "", "eval.json"))["ev"]
        print(f"[{minutes:5.1f} min] {training.name} seed {seed}: ev {ev:.4f}; {number} of {len(todo)}, "
              f"about {left:.0f} min left", flush=True)
    return True


def numbers(text):
    return [int(word) for word in text.split(",")]


def read_options(arguments):
    parser = argparse.ArgumentParser(prog="reproduce.py", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", default=os.path.join(ROOT, "data", "smollm2-sample.h5"), help="store to train on")
    parser.add_argument("--test", help="store to judge on; else rows of --data that are held out")
    parser.add_argument("--gradients", help="store with gradients, for g-SAE; else --data if it has them")
    parser.add_argument("--out", default=os.path.join("runs", "reproduce-small"), help="directory to write to")
    parser.add_argument("--steps", type=int, default=500, help="of each training, fewer if 12 passes over the rows are")
    parser.add_argument("--minutes", type=float, default=0, help="begin no training later than this; 0: no limit")
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3])
    parser.add_argument("--latents", type=int, default=2048)
    parser.add_argument("--ks", type=numbers, default=[8, 16, 32, 64, 128], help="of TopK; Hierarchical: the largest")
    parser.add_argument("--k", type=int, default=32, help="of the others, one of --ks")
    options = parser.parse_args(arguments)
    if options.k not in options.ks or min(options.ks) < 1 or max(options.ks) > options.latents:
        raise run_files.Unusable("--k must be one of --ks, and those from 1 to --latents")
    if options.test:
        about(options.test)
    if not options.gradients and about(options.data)[1]:
        options.gradients = options.data
    return options


def body(arguments):
    options = read_options(arguments)
    stopping.listen()
    os.makedirs(options.out, exist_ok=True)
    program = Program(options.out)
    parts = {"main": prepare(program, options, "main", options.data, options.test)}
    if options.gradients:
        parts["gradients"] = prepare(program, options, "gradients", options.gradients, None)
    trainings = plan(options.ks, options.k, bool(options.gradients))
    complete = train_all(program, options, parts, trainings)
    path = reproduce_report.write(options, parts, trainings)
    print(f"wrote {path}")
    if not complete:
        sys.exit(STOPPED)


if __name__ == "__main__":
    run_files.main(body)
