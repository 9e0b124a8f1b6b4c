"""Reads rows of an activation store: HDF5, [N, d] under /activations, one file or several that count as one."""
import math
import os

import h5py
import numpy as np

from run_files import Unusable


def widen(words, dataset):
    """Stored numbers as float32; bfloat16 is kept as 16-bit words that say so in an attribute."""
    if words.dtype == np.uint16:
        logical = dataset.attrs.get("logical_dtype", "")
        if (logical.decode() if isinstance(logical, bytes) else logical) != "bfloat16":
            raise Unusable(f"{dataset.file.filename}: {dataset.name}: 16-bit words that do not say bfloat16")
    return floats(words)


def floats(words):
    """Numbers as stored, bfloat16 as 16-bit words, in float32."""
    return (words.astype(np.uint32) << 16).view(np.float32) if words.dtype == np.uint16 else words.astype(np.float32)


def dataset_of(file, hook):
    """The dataset of a hook, the only one when hook is "", or any dataset named by an absolute path."""
    if hook.startswith("/"):
        name = hook
    else:
        names = sorted(file["activations"]) if "activations" in file else []
        if not hook and len(names) != 1:
            raise Unusable(f"{file.filename}: holds {len(names)} hooks; name one in data.hook")
        name = f"activations/{hook or names[0]}"
    if name not in file:
        raise Unusable(f"{file.filename}: no dataset {name}")
    return file[name]


def store_files(paths):
    """Directories replaced by their *.h5 files in the order of their names."""
    files = []
    for path in paths:
        if os.path.isdir(path):
            files += [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(".h5")]
        else:
            files.append(path)
    return files


def read_rows(paths, hook=""):
    """All rows [N, d] in float32."""
    parts = []
    for path in store_files(paths):
        try:
            with h5py.File(path, "r") as file:
                dataset = dataset_of(file, hook)
                parts.append(widen(dataset[...], dataset))
        except OSError as problem:
            raise Unusable(f"{path}: {problem}") from problem
    if not parts:
        raise Unusable(f"no store file in {', '.join(paths)}")
    return np.concatenate(parts)


def read_last(paths, count):
    """The last rows [count, d] in float32 of stores with one hook."""
    parts = []
    for path in reversed(store_files(paths)):
        with h5py.File(path, "r") as file:
            dataset = dataset_of(file, "")
            left = count - sum(len(part) for part in parts)
            if left > 0:
                parts.append(widen(dataset[max(0, len(dataset) - left):], dataset))
    return np.concatenate(parts[::-1])


def count_rows(path):
    """(N, d) of a store with one hook, a file or a directory of files."""
    shapes = []
    for name in store_files([path]):
        with h5py.File(name, "r") as file:
            shapes.append(dataset_of(file, "").shape)
    return sum(shape[0] for shape in shapes), shapes[0][1]


def split(rows, holdout):
    """(training rows, held-out rows) as the program splits them: the last rows, a count or, below 1, a share."""
    count = int(holdout) if holdout >= 1 else math.ceil(holdout * len(rows))
    return rows[: len(rows) - count], rows[len(rows) - count:]


def scaled(rows, scale):
    """What data.scale makes of the rows; a common factor changes no explained variance and is left out."""
    if scale != "token":
        return rows
    centred = rows - rows.mean(axis=1, keepdims=True)
    return centred * (np.sqrt(rows.shape[1]) / np.linalg.norm(centred, axis=1, keepdims=True))
