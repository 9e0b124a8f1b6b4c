#!/usr/bin/python3
# seconds: 300
"""hpsae shuffle reads what NumPy, h5py and safetensors write, in every dtype, and refuses what it must with one line.

The program runs as users run it, on 1 and 3 ranks; files are written and read back by h5py and NumPy alone.
"""
import json
import os
import shutil
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import tap

ROWS, D = 400, 12


def run(ranks, *overrides):
    settings = [word for override in overrides for word in ("-s", override)]
    return program.run(ranks, "shuffle", "shuffle.yaml", *settings, seconds=60)


def bf16_words(x):
    bits = x.astype("<f4").view("<u4").astype("u8")
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2")


def widen(dataset):
    words = dataset[:]
    if dataset.attrs.get("logical_dtype") == "bfloat16":
        return (words.astype("<u4") << 16).view("<f4")
    return words.astype("f4")


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in tensors.values():
            file.write(array.tobytes())


def sorted_rows(x):
    return x[np.lexsort(x.T)]


def accepted(name, files, expected, *overrides, dtype=None):
    """The output holds the expected rows in another order, has right statistics, and does not depend on the ranks."""
    outputs = []
    for ranks in (1, 3):
        output = f"{name.replace(' ', '-')}-{ranks}.h5"
        status, _, stderr = run(ranks, f"shuffle.input=[{', '.join(files)}]", f"shuffle.output={output}", *overrides)
        if status != 0:
            tap.check(False, name, stderr)
            return
        outputs.append(output)
    with h5py.File(outputs[0]) as file:
        dataset = file["activations"][list(file["activations"])[0]]
        found = widen(dataset)
        same = np.array_equal(sorted_rows(found), sorted_rows(expected.astype("f4")))
        moved = not np.array_equal(found, expected.astype("f4"))
        mean = np.allclose(dataset.attrs["mean"], found.astype("f8").mean(0), rtol=1e-12, atol=1e-14)
        square = np.isclose(dataset.attrs["mean_sq_norm"], (found.astype("f8") ** 2).sum(1).mean(), rtol=1e-12)
        typed = dtype is None or dataset.dtype == dtype
        marked = file.attrs["shuffled"] == 1 and file.attrs["complete"] == 1 and dataset.attrs["n_tokens"] == len(found)
    alike = open(outputs[0], "rb").read() == open(outputs[1], "rb").read()
    tap.check(same and moved and mean and square and typed and marked and alike, name,
              f"same {same} moved {moved} mean {mean} {square} typed {typed} marked {marked} alike {alike}")


def refused(name, files, words, *overrides):
    """Exit status 2 and the line, on 1 and 3 ranks, and no file."""
    good, said = True, ""
    for ranks in (1, 3):
        status, _, stderr = run(ranks, f"shuffle.input=[{', '.join(files)}]", "shuffle.output=none.h5", *overrides)
        lines = [line for line in stderr.splitlines() if line.startswith("hpsae: error: ")]
        good = good and status == 2 and len(lines) == 1 and words in lines[0]
        good = good and not os.path.exists("none.h5") and not os.path.exists("none.h5.tmp")
        said += f"{status} {stderr}"
    tap.check(good, name, said)


def main():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((ROWS, D)) * 4
    half, single = x.astype("f2"), x.astype("f4")
    brain = (bf16_words(single).astype("<u4") << 16).view("<f4")
    hook = "shuffle.hook=blocks.1.hook"

    for dtype, kind in (("f2", half), ("f4", single), ("f8", x)):
        np.save(f"{dtype}.npy", kind)
        accepted(f"npy {dtype}", [f"{dtype}.npy"], kind, hook, dtype="f4" if dtype == "f8" else dtype)
    accepted("npy f4 as bfloat16", ["f4.npy"], brain, hook, "shuffle.dtype=bfloat16", dtype="u2")
    accepted("npy f8 as float16", ["f8.npy"], single.astype("f2"), hook, "shuffle.dtype=float16", dtype="f2")
    with open("v2.npy", "wb") as file:
        np.lib.format.write_array(file, single, version=(2, 0))
    accepted("npy version 2", ["v2.npy"], single, hook)

    write_safetensors("one.safetensors", {"acts": ("BF16", bf16_words(single)), "ids": ("I64", np.arange(ROWS))})
    accepted("safetensors bf16", ["one.safetensors"], brain, hook, dtype="u2")
    write_safetensors("two.safetensors", {"a": ("F16", half), "b": ("F64", x)})
    accepted("safetensors, one of two tensors", ["two.safetensors"], single, hook, "shuffle.dataset=b")
    refused("safetensors, two tensors and no choice", ["two.safetensors"], "choose one with shuffle.dataset", hook)

    with h5py.File("plain.h5", "w") as file:
        file["some/where"] = half
    accepted("HDF5 dataset of any path", ["plain.h5"], half, dtype="f2")
    with h5py.File("packed.h5", "w") as file:
        file.create_dataset("activations/h", data=single, chunks=(64, 5), compression="gzip", shuffle=True)
    accepted("HDF5 chunked by rows and columns, compressed", ["packed.h5"], single)
    with h5py.File("big.h5", "w") as file:
        file["activations/h"] = single.astype(">f4")
    accepted("HDF5 big-endian", ["big.h5"], single, dtype="<f4")
    accepted("files of several formats and dtypes", ["packed.h5", "f2.npy"], np.concatenate([single, half]), hook,
             "shuffle.dtype=float32")
    os.mkdir("folder")
    for i, part in enumerate(np.array_split(single, [1, 150])):
        np.save(f"folder/part-{i}.npy", part)
    accepted("a directory of uneven files", ["folder"], single, hook)
    bad = single.copy()
    bad[[7, 300]] = np.nan
    np.save("bad.npy", bad)
    accepted("bad rows left out", ["bad.npy"], np.delete(single, [7, 300], axis=0), hook, "data.skip_bad_rows=true")

    refused("NaN", ["bad.npy"], "bad.npy: row 7 holds NaN or infinity (2 such rows in 400); set data.skip_bad_rows", hook)
    refused("different dtypes", ["packed.h5", "f2.npy"], "differ in dtype (this one: float32); set shuffle.dtype", hook)
    np.save("wide.npy", np.zeros((4, D + 1), "f4"))
    refused("different d", ["f4.npy", "wide.npy"], "wide.npy: d is 13, in f4.npy it is 12", hook)
    np.save("fortran.npy", np.asfortranarray(single))
    refused("Fortran order", ["fortran.npy"], "fortran.npy: in Fortran order", hook)
    np.save("object.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
    refused("pickled objects", ["object.npy"], "object.npy: holds pickled Python objects", hook)
    shutil.copy("f4.npy", "short.npy")
    os.truncate("short.npy", os.path.getsize("short.npy") - 1)
    refused("a truncated .npy", ["short.npy"], "short.npy: truncated: [400, 12] numbers do not fit", hook)
    shutil.copy("plain.h5", "short.h5")
    os.truncate("short.h5", os.path.getsize("short.h5") - 100)
    refused("a truncated HDF5 file", ["short.h5"], "short.h5: truncated", hook)
    refused("no such file", ["gone.h5"], "gone.h5: cannot be opened: No such file", hook)


with program.Directory() as directory:
    os.chdir(directory)
    with open("shuffle.yaml", "w") as config:
        config.write("shuffle: {input: x, output: y}\n")
    main()
tap.done()
