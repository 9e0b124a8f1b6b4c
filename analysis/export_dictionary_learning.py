#!/usr/bin/env python3
"""Turns a SAELens folder that `hpsae export` wrote into a folder of dictionary_learning: ae.pt and config.json.

    export_dictionary_learning.py FOLDER OUTPUT

topk becomes AutoEncoderTopK, jumprelu with one threshold for all latents BatchTopKSAE in use, both read back by
dictionary_learning's load_dictionary(OUTPUT, device).  Needs PyTorch; the weights are held in memory once.
"""
import argparse
import json
import os
import re
import sys

import numpy as np

CLASSES = {"topk": ("AutoEncoderTopK", "TopKTrainer"), "jumprelu": ("BatchTopKSAE", "BatchTopKTrainer")}


def fail(words):
    sys.exit(f"export_dictionary_learning: error: {words}")


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        return fail(f"{path}: {error}")


def read_tensors(path):
    """{name: float32 array} of a .safetensors file, as hpsae writes it; the arrays are views of the file."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    except (OSError, ValueError) as error:
        return fail(f"{path}: {error}")
    header.pop("__metadata__", None)
    other = [name for name, entry in header.items() if entry["dtype"] != "F32"]
    if other:
        return fail(f"{path}: {other[0]} is not float32; export it by hpsae")
    return {name: data[slice(*entry["data_offsets"])].view("<f4").reshape(entry["shape"])
            for name, entry in header.items()}


def one_threshold(path, tensors):
    values = tensors["threshold"]
    if values.min() != values.max():
        fail(f"{path}: threshold differs from latent to latent; BatchTopKSAE has one for all")
    return float(values[0])


def layer_of(hook):
    """The number in blocks.15.hook_resid_post or layers.15; None when there is none."""
    number = re.search(r"\.(\d+)(\.|$)", hook)
    return int(number.group(1)) if number else None


def describe(about):
    """config.json from cfg.json."""
    told = about.get("metadata") or {}
    dict_class, trainer_class = CLASSES[about["architecture"]]
    hook = told.get("hook_name") or ""
    return {"trainer": {"dict_class": dict_class, "trainer_class": trainer_class, "activation_dim": about["d_in"],
                        "dict_size": about["d_sae"], "k": about.get("k") or told.get("k") or 1,
                        "layer": layer_of(hook), "lm_name": told.get("model_name") or "", "submodule_name": hook},
            "buffer": {"d_submodule": about["d_in"]}}


def state_of(tensors, k, threshold):
    """What the module's load_state_dict takes."""
    import torch

    def tensor(values):
        return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))

    return {"encoder.weight": tensor(tensors["W_enc"].T), "encoder.bias": tensor(tensors["b_enc"]),
            "decoder.weight": tensor(tensors["W_dec"].T), "b_dec": tensor(tensors["b_dec"]),
            "k": torch.tensor(k, dtype=torch.int32), "threshold": torch.tensor(threshold, dtype=torch.float32)}


def replace(path, write):
    """The file appears whole or not at all."""
    try:
        write(path + ".tmp")
        os.replace(path + ".tmp", path)
    except OSError as error:
        fail(f"{path}: {error}")
    finally:
        if os.path.exists(path + ".tmp"):
            os.remove(path + ".tmp")


def write_json(value):
    def write(path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
    return write


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="what hpsae export wrote with export.format: saelens")
    parser.add_argument("output", help="folder to write ae.pt and config.json to")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        fail("PyTorch is needed to write ae.pt: pip install torch")
    about = read_json(os.path.join(arguments.folder, "cfg.json"))
    if about.get("architecture") not in CLASSES:
        fail(f"{arguments.folder}/cfg.json: architecture is {about.get('architecture')}; allowed: topk, jumprelu")
    weights = os.path.join(arguments.folder, "sae_weights.safetensors")
    tensors = read_tensors(weights)
    config = describe(about)
    threshold = one_threshold(weights, tensors) if about["architecture"] == "jumprelu" else -1.0
    os.makedirs(arguments.output, exist_ok=True)
    state = state_of(tensors, config["trainer"]["k"], threshold)
    replace(os.path.join(arguments.output, "ae.pt"), lambda path: torch.save(state, path))
    replace(os.path.join(arguments.output, "config.json"), write_json(config))


if __name__ == "__main__":
    main()
