#!/usr/bin/python3
"""Prints what a run came to, beside the floor that it must beat: demo_table.py RUN [OTHER_RUN]

Reads RUN/eval.json, run.json, used.yaml, metrics.jsonl and the store that used.yaml names.  OTHER_RUN is the same
training on another number of ranks, all of it or its beginning: the checksums of the steps that both logged must agree,
else the exit status is 1.
"""
import os
import sys

sys.dont_write_bytecode = True

import run_files  # first: it tells which package is missing

import numpy as np

import activations
import pca_floor


def required(run, name):
    content = run_files.read_json(os.path.join(run, name))
    if content is None:
        raise run_files.Unusable(f"{os.path.join(run, name)}: not there; run hpsae {name.split('.')[0]} first")
    return content


def floor_rows(used, evaluation):
    """Lines (label, ev) of the PCA codes as sparse as the dictionary's."""
    store = used["data.store"]
    rows = activations.read_rows([store] if isinstance(store, str) else store, used.get("data.hook", ""))
    train, heldout = activations.split(activations.scaled(rows, used["data.scale"]), float(used["data.holdout"]))
    ranks = sorted({max(1, round(evaluation["l0"])), int(used["model.k"])})
    floor = pca_floor.explained_variance(train, heldout, ranks)
    size = f"{len(train):,} rows to train on, {len(heldout):,} held out, d {rows.shape[1]}"
    return size, [(f"best linear code (PCA) of rank {rank}", floor[rank]) for rank in ranks]


def checksum_rows(run, other):
    """(lines, agreed) on the checksums of two runs at the steps that both logged."""
    logs = [{r["step"]: r["checksum"] for r in run_files.read_metrics(path) if "checksum" in r}
            for path in (run, other)]
    ranks = [required(path, "run.json").get("ranks", "?") for path in (run, other)]
    common = sorted(set(logs[0]) & set(logs[1]))
    if not common:
        raise run_files.Unusable(f"{run} and {other} logged no step in common")
    equal = [step for step in common if logs[0][step] == logs[1][step]]
    agreed = equal == common
    verdict = "the same" if agreed else f"DIFFERENT from step {min(set(common) - set(equal))} on"
    lines = [(f"checksum at step {common[-1]}, {rank} rank{'' if rank == 1 else 's'}", log[common[-1]])
             for rank, log in zip(ranks, logs)]
    return lines + [(f"over {len(common)} logged steps", verdict)], agreed


def share_dead(evaluation, records):
    """As evaluation says; it knows nothing of the training when it was given the weights alone."""
    return records[-1]["dead"] if evaluation["dead"] is None else evaluation["dead"]


def speed(records):
    _, values = run_files.series(records, "tokens_per_s", against="step")
    return f"{np.median(values):,.0f}" if values else "not logged"


def print_table(title, lines):
    print(f"\n{title}")
    for label, value in lines:
        print(f"    {label:<42}  {value}")


def body(arguments):
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        raise run_files.Unusable("usage: demo_table.py RUN [OTHER_RUN]")
    run = arguments[0]
    evaluation, used, records = required(run, "eval.json"), run_files.read_used(run), run_files.read_metrics(run)
    size, floor = floor_rows(used, evaluation)
    name = f"dictionary of {int(used['model.latents']):,} latents, L0 {evaluation['l0']:.1f}"
    print(f"\n{run}: {records[-1]['tokens']:,} tokens; {size}")
    print_table("Held-out explained variance", [(n, f"{v:.4f}") for n, v in [(name, evaluation["ev"])] + floor])
    print_table("Training", [
        ("L0, active latents a token", f"{evaluation['l0']:.2f}"),
        ("dead latents", f"{100 * share_dead(evaluation, records):.2f} %"),
        (f"tokens/s on {required(run, 'run.json').get('ranks', '?')} ranks", speed(records))])
    if len(arguments) == 2:
        lines, agreed = checksum_rows(run, arguments[1])
        print_table("The same bits on any number of ranks", lines)
        if not agreed:
            sys.exit(1)


if __name__ == "__main__":
    run_files.main(body)
