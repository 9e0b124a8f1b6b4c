#!/usr/bin/env python3
"""Runs an ensemble that `hpsae export` wrote for SAELens; as a script, reports on one: ensemble_loader.py FOLDER [ROWS.npy]

    ensemble = ensemble_loader.load("export")      # NumPy alone
    codes, xhat = ensemble.encode(x), ensemble(x)  # x [tokens, d] as stored; codes [tokens, latents of all members]

    import sae_lens                                # or, with SAELens and PyTorch, its own classes around the same weights
    parts = ensemble_loader.load_sae_lens("export")
    xhat = parts(torch_x)

A bagging is the mean of its members, a boosted chain runs stage by stage on what the stage before left (Gadgil, Lin, Lee,
arXiv:2505.16077).  Members select on their own: SAELens' one top-k over a concatenation would be another model, so `load`
and `load_sae_lens` apply it member by member, as cfg.json's metadata.hpsae_ensemble tells.
"""
import json
import os
import sys

import numpy as np

TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


class Unusable(Exception):
    """A folder is not what it should be; the message is for the user."""


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as problem:
        raise Unusable(f"{path}: {problem}") from problem


def read_tensors(path):
    """{name: float32 array} of a .safetensors file as hpsae writes it; the arrays are views of the file."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
        header.pop("__metadata__", None)
        return {name: data[slice(*entry["data_offsets"])].view("<f4").reshape(entry["shape"])
                for name, entry in header.items() if entry["dtype"] == "F32"}
    except (OSError, ValueError, KeyError) as problem:
        raise Unusable(f"{path}: {problem}") from problem


def top_k(p, k):
    """The k largest of each row if above 0, else 0; of equal ones those of lower number."""
    chosen = np.argsort(-p, axis=1, kind="stable")[:, :k]
    z = np.zeros_like(p)
    np.put_along_axis(z, chosen, np.maximum(np.take_along_axis(p, chosen, axis=1), 0), axis=1)
    return z


def ranges(about):
    """Of a cfg.json: [(first latent, end, k, threshold)], one a member; one of the last two is None, or both where the
    file has a threshold a latent."""
    told = (about.get("metadata") or {}).get("hpsae_ensemble")
    if told is None:
        return [(0, about["d_sae"], about.get("k") if about["architecture"] == "topk" else None, None)]
    return [(first, end, how.get("k"), how.get("threshold"))
            for first, end, how in zip(told["offsets"], told["offsets"][1:], told["selection"])]


class Dictionary:
    """One folder of SAELens: a model, or the concatenation of several, of which each selects on its own."""

    def __init__(self, folder):
        about = read_json(os.path.join(folder, "cfg.json"))
        if about.get("architecture") not in ("topk", "jumprelu"):
            raise Unusable(f"{folder}/cfg.json: architecture {about.get('architecture')}; known are topk and jumprelu")
        tensors = read_tensors(os.path.join(folder, "sae_weights.safetensors"))
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = (tensors[name] for name in TENSORS)
        self.threshold = tensors.get("threshold")
        self.ranges = ranges(about)
        self.latents = about["d_sae"]

    def encode(self, x):
        """Codes [tokens, latents] of x [tokens, d]."""
        p = (np.asarray(x, dtype=np.float32) - self.b_dec) @ self.W_enc + self.b_enc
        codes = np.empty_like(p)
        for first, end, k, threshold in self.ranges:
            part = p[:, first:end]
            limit = self.threshold[first:end] if self.threshold is not None else threshold
            codes[:, first:end] = top_k(part, k) if k is not None else np.where(part > limit, np.maximum(part, 0), 0)
        return codes

    def decode(self, codes):
        return codes @ self.W_dec + self.b_dec


class Ensemble:
    """Dictionaries one after the other (chained), or side by side: xhat = coefficient * the sum of what they give."""

    def __init__(self, dictionaries, coefficient, chained):
        self.dictionaries, self.coefficient, self.chained = dictionaries, coefficient, chained

    def run(self, x):
        """(codes of each, what each gives)."""
        left, codes, given = np.asarray(x, dtype=np.float32), [], []
        for dictionary in self.dictionaries:
            codes.append(dictionary.encode(left))
            given.append(dictionary.decode(codes[-1]))
            if self.chained:
                left = left - given[-1]
        return codes, given

    def encode(self, x):
        """Codes of all members, numbered one after the other, times their coefficient: those of `hpsae encode`."""
        return np.float32(self.coefficient) * np.concatenate(self.run(x)[0], axis=1)

    def __call__(self, x):
        return np.float32(self.coefficient) * np.sum(self.run(x)[1], axis=0)

    @property
    def latents(self):
        return sum(dictionary.latents for dictionary in self.dictionaries)


def parts_of(folder):
    """(folders, coefficient, chained) of what `hpsae export` wrote; a folder of SAELens is its own part."""
    if not os.path.exists(os.path.join(folder, "index.json")):
        return [folder], 1.0, False
    index = read_json(os.path.join(folder, "index.json"))
    if index.get("format") != "hpsae-ensemble-saelens" or index.get("format_version") != 1:
        raise Unusable(f"{folder}/index.json: not the index of an ensemble that this script knows")
    return ([os.path.join(folder, name) for name in index["folders"]], float(index["coefficient"]),
            index["method"] == "boosting")


def load(folder):
    """An Ensemble from an export's folder, or from one folder of SAELens."""
    folders, coefficient, chained = parts_of(folder)
    return Ensemble([Dictionary(each) for each in folders], coefficient, chained)


def load_sae_lens(folder, device="cpu"):
    """The same around SAELens' own classes: a function of torch tensors [..., d], its SAEs in .saes."""
    import torch
    from sae_lens import SAE

    class ByMember(torch.nn.Module):
        """In the place of SAELens' activation function: each member's latents select on their own."""

        def __init__(self, parts):
            super().__init__()
            self.parts = parts

        def forward(self, p):
            chosen = torch.zeros_like(p)
            for first, end, k, threshold in self.parts:
                part = p[..., first:end]
                if k is None:
                    chosen[..., first:end] = torch.where(part > threshold, part.relu(), 0)
                else:
                    values, at = torch.topk(part, k, dim=-1)
                    chosen[..., first:end].scatter_(-1, at, values.relu())
            return chosen

    folders, coefficient, chained = parts_of(folder)
    saes = [SAE.load_from_disk(each, device=device, dtype="float32") for each in folders]
    for sae, each in zip(saes, folders):
        about = read_json(os.path.join(each, "cfg.json"))
        if about["architecture"] == "topk" and "hpsae_ensemble" in (about.get("metadata") or {}):
            sae.activation_fn = ByMember(ranges(about))

    def run(x):
        left, total = x, 0
        for sae in saes:
            given = sae.decode(sae.encode(left))
            total = total + given
            left = left - given if chained else left
        return coefficient * total

    run.saes = saes
    return run


def main(arguments):
    if len(arguments) not in (1, 2):
        raise Unusable("usage: ensemble_loader.py FOLDER [ROWS.npy]")
    ensemble = load(arguments[0])
    how = "a chain" if ensemble.chained else "side by side"
    print(f"{arguments[0]}: {len(ensemble.dictionaries)} dictionaries, {how}, {ensemble.latents} latents together")
    if len(arguments) == 2:
        x = np.load(arguments[1])
        error, spread = np.sum((x - ensemble(x)) ** 2), np.sum((x - x.mean(axis=0)) ** 2)
        print(f"{arguments[1]}: ev {1 - error / spread:.5f}, "
              f"l0 {np.mean(np.sum(ensemble.encode(x) > 0, axis=1)):.2f} on {len(x)} rows")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Unusable as wrong:
        print(f"ensemble_loader: error: {wrong}", file=sys.stderr)
        sys.exit(2)
