"""Ensembles for tests, made of separate training runs and an ensemble.json, and what they compute, in NumPy and double
precision (math 5: bagging is the mean of its members; stage j of boosting takes what stages 1 .. j - 1 left).
"""
import json
import os

import h5py
import numpy as np

import metrics
import program
import sae
import tap
import trained

LAST_DIGITS = 4 * np.finfo(np.float32).eps


class Member:
    """A trained model: its parameters, how it selects, the checksum of its values."""

    def __init__(self, run):
        path = os.path.join(run, max(name for name in os.listdir(run) if name.startswith("checkpoint-")))
        with h5py.File(path, "r") as file:
            self.params = program.read_params(file, "average") or program.read_params(file, "value")
            about = {key: file.attrs[key] for key in ("n", "d", "k", "scale", "threshold", "select", "norm",
                                                      "checksum_values")}
            self.fired, self.tokens = file["fired"][...], int(file.attrs["tokens"])
        self.n, self.d, self.k = int(about["n"]), int(about["d"]), int(about["k"])
        self.scale, self.threshold = float(about["scale"]), float(about["threshold"])
        self.by_threshold = about["select"] in (b"batch_topk", "batch_topk")
        self.checksum = about["checksum_values"]
        self.checksum = self.checksum.decode() if isinstance(self.checksum, bytes) else self.checksum

    def codes(self, x, blurred=0.0):
        """Z [T, n] in the units of x, and whether float32 cannot blur the choice of a row's latents; x is what float32
        left of numbers as large as `blurred` [T]."""
        p = sae.preactivations(self.params, x)
        size = np.linalg.norm(x - self.params.b_dec, axis=1) + blurred
        size = size * np.linalg.norm(self.params.W_enc, axis=1).max()
        blur = LAST_DIGITS * self.d**0.5 * (size + np.abs(self.params.b_enc).max())
        if self.by_threshold:
            return metrics.above(p, self.threshold), np.abs(p - self.threshold).min(axis=1) > blur
        ranked = -np.sort(-p, axis=1)
        clear = (ranked[:, self.k - 1] - np.maximum(ranked[:, self.k], 0) > blur) | (ranked[:, self.k - 1] < -blur)
        return metrics.by_rank(p, self.k, p), clear & (np.abs(p).min(axis=1) > blur)

    def forward(self, x, blurred=0.0):
        Z, clear = self.codes(x, blurred)
        return metrics.rebuild(self.params, Z), Z, clear


class Ensemble:
    """Members and method; all in the units in which the first one takes its input."""

    def __init__(self, method, runs):
        self.method, self.members = method, [Member(run) for run in runs]
        self.scale = self.members[0].scale
        self.offsets = np.concatenate([[0], np.cumsum([m.n for m in self.members])])

    def forward(self, x):
        """What each member gives [J, T, d], the codes [T, all latents] with coefficients, and the rows that are clear."""
        given, codes, clear, left = [], [], np.ones(len(x), dtype=bool), x
        for m in self.members:
            xhat, Z, sure = m.forward(left, np.linalg.norm(x, axis=1))
            given.append(xhat)
            codes.append(Z)
            clear &= sure
            left = left - xhat if self.method == "boosting" else x
        coefficient = 1 / len(self.members) if self.method == "bagging" else 1
        return np.stack(given), coefficient * np.concatenate(codes, axis=1), clear

    def whole(self, given, members=None):
        """xhat of the first so many members."""
        part = given[:members]
        return part.mean(axis=0) if self.method == "bagging" else part.sum(axis=0)


def train(directory, run, **keys):
    """One run on the directory's store, unless the keys name another; returns its own directory."""
    os.makedirs(os.path.dirname(run), exist_ok=True)
    store = {"data__store": os.path.join(directory, "store.h5")}
    config = trained.write_config(os.path.dirname(run), output=run, **{**store, **keys})
    status, out, err = program.run(2, "train", config)
    tap.check(status == 0, f"{os.path.basename(run)} trains", f"status {status}\n{out}{err}")
    return run


def write_file(directory, method, runs):
    """ensemble.json for runs below the directory."""
    members = [Member(run) for run in runs]
    about = {"format": "hpsae-ensemble", "format_version": 1, "method": method, "members": len(runs),
             "d": members[0].d, "hook": "test", "store": [], "store_identity": "0" * 16, "config_hash": "0" * 16,
             "variance": None,
             "member": [{"directory": os.path.basename(run), "complete": True, "checksum": m.checksum, "n": m.n,
                         "k": m.k, "config_hash": "0" * 16, "ev": None} for run, m in zip(runs, members)]}
    with open(os.path.join(directory, "ensemble.json"), "w", encoding="utf-8") as file:
        json.dump(about, file)
    return Ensemble(method, runs)


def bagging(directory, common, members):
    """Members on the directory's store; `members` are the keys in which each differs.  (its directory, the Ensemble)."""
    place = os.path.join(directory, "bagging")
    os.makedirs(place)
    runs = [train(directory, os.path.join(place, f"member-{j}"), **{"train__seed": j, **common, **keys})
            for j, keys in enumerate(members, 1)]
    return place, write_file(place, "bagging", runs)


def boosting(directory, common, stages):
    """Stages, each trained on what those before left of the directory's store; `common` tells data__scale."""
    place, runs = os.path.join(directory, "boosting"), []
    os.makedirs(place)
    with h5py.File(os.path.join(directory, "store.h5"), "r") as file:
        left = file["activations/test"][...].astype(np.float64)
    for j, keys in enumerate(stages, 1):
        own = {"train__seed": j, **common, **keys}
        if j > 1:
            path = os.path.join(place, f"residuals-{j}.h5")
            program.write_store(path, left)
            own.update({"data__store": path, "data__scale": "none"})
        runs.append(train(directory, os.path.join(place, f"stage-{j}"), **own))
        stage = Member(runs[-1])
        left = left * stage.scale if j == 1 else left
        left = left - stage.forward(left)[0]
    return place, write_file(place, "boosting", runs)
