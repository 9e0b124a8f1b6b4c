"""Explained variance of some latents alone of a BatchTopK dictionary, whose latents stand in no order.

What a Matryoshka prefix is compared with: the m latents of a plain BatchTopK dictionary that fire most often.
"""
import glob
import os

import h5py
import numpy as np

from run_files import Unusable

BLOCK = 4096  # rows at a time


def newest_checkpoint(run):
    paths = sorted(glob.glob(os.path.join(run, "checkpoint-*.h5")))
    if not paths:
        raise Unusable(f"{run}: no checkpoint")
    return paths[-1]


def read_model(run):
    """(W_enc [n, d], b_enc [n], W_dec [n, d], b_dec [d], threshold, scale), the running average where there is one."""
    path = newest_checkpoint(run)
    with h5py.File(path, "r") as file:
        role = file["average"] if "average" in file else file["value"]
        tensors = [role[name][...] for name in ("W_enc", "b_enc", "W_dec", "b_dec")]
        threshold, scale = (float(np.ravel(file.attrs[name])[0]) for name in ("threshold", "scale"))
    if threshold < 0:
        raise Unusable(f"{path}: its threshold is not known yet; train it to the end")
    return (*tensors, threshold, scale)


def codes(model, rows):
    """Blocks (inputs [B, d], values [B, n]) of rows [N, d]: z = p where p > threshold, else 0."""
    encoder, offsets, _, bias, threshold, scale = model
    for start in range(0, len(rows), BLOCK):
        x = rows[start:start + BLOCK] * np.float32(scale)
        p = (x - bias) @ encoder.T + offsets
        yield x, np.where(p > max(threshold, 0.0), p, 0)


def of_most_frequent(run, rows, sizes):
    """{m: ev} on rows [N, d] of the m latents that fire most often on them, for each m of sizes."""
    model = read_model(run)
    decoder, bias = model[2], model[3]
    order = np.argsort(-sum((z > 0).sum(axis=0) for _, z in codes(model, rows)), kind="stable")
    total = np.sum((rows - rows.mean(axis=0, dtype=np.float64)) ** 2, dtype=np.float64) * model[5] ** 2
    errors = dict.fromkeys(sizes, 0.0)
    for x, z in codes(model, rows):
        for size in sizes:
            chosen = order[:size]
            residual = x - bias - z[:, chosen] @ decoder[chosen]
            errors[size] += float(np.sum(residual.astype(np.float64) ** 2))
    return {size: 1 - error / total for size, error in errors.items()}
