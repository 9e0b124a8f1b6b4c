#!/usr/bin/python3
# seconds: 600
"""`hpsae encode` writes the codes that the definition gives: for TopK and BatchTopK, of all rows or a part, of our
models and of dictionaries that were exported and read back; a value at the threshold does not count, the next float
does; the same bytes on 1, 2 and 3 ranks whatever the batch; what it cannot do is said in one line, with nothing
half-written.

The definition is math 1 in NumPy and double precision, from the numbers in the checkpoint; rows whose selection float32
could blur are counted and set aside.
"""
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np
import scipy.sparse

import program
import refusal
import tap
import trained

ROWS, D, LATENTS, K, STEPS = 700, 24, 331, 7, 20
THRESHOLD = {"start_step": 5, "decay": 0.9}
RELATIVE = 2e-5


def must(ranks, command, config, *settings):
    options = [word for setting in settings for word in ("-s", setting)]
    status, out, err = program.run(ranks, command, config, *options, seconds=120)
    return status == 0 or tap.check(False, f"{command} {' '.join(settings)}", f"status {status}\n{out}{err}")


def read_codes(path):
    """Attributes, the matrix, the places by value (or None)."""
    with h5py.File(path, "r") as file:
        codes = file["codes"]
        matrix = scipy.sparse.csr_matrix((codes["data"][:], codes["indices"][:], codes["indptr"][:]),
                                         shape=codes.attrs["shape"])
        types = tuple(codes[name].dtype.str for name in ("indptr", "indices", "data"))
        tap.check(types == ("<i8", "<i4", "<f4"), "indptr, indices and data have the types of the format", types)
        return dict(file.attrs), matrix, codes["order"][:] if "order" in codes else None


def definition(model, rows):
    """z [N, n] in the store's units and the rows of which the selection is clear, from a model file."""
    with h5py.File(model, "r") as file:
        e, e_bias, b = (file["value"][name][...].astype(np.float64) for name in ("W_enc", "b_enc", "b_dec"))
        scale, k, threshold = float(file.attrs["scale"]), int(file.attrs["k"]), float(file.attrs["threshold"])
        select = file.attrs["select"].decode()
    y = rows.astype(np.float64) * scale - b
    p = y @ e.T + e_bias
    blur = 4 * np.finfo(np.float32).eps * D**0.5 * (np.linalg.norm(y, axis=1) * np.linalg.norm(e, axis=1).max()
                                                     + np.abs(e_bias).max())
    if select == "batch_topk":
        return np.where(p > threshold, p, 0) / scale, np.abs(p - threshold).min(axis=1) > blur
    ranked = -np.sort(-p, axis=1)
    least = np.maximum(ranked[:, k - 1], 0)
    kept = (p >= least[:, None]) & (p > 0)
    clear = (least - np.maximum(ranked[:, k], 0) > blur) | (ranked[:, k - 1] < 0)
    return np.where(kept, p, 0) / scale, clear & (np.abs(p).min(axis=1) > blur)


def places(matrix):
    """The place of every value among its row's, largest first, equal ones by latent."""
    result = np.empty(matrix.nnz, dtype=np.int32)
    for begin, end in zip(matrix.indptr[:-1], matrix.indptr[1:]):
        result[begin + np.argsort(-matrix.data[begin:end], kind="stable")] = np.arange(end - begin)
    return result


def compare(name, path, model, rows):
    about, matrix, order = read_codes(path)
    ours, clear = definition(model, rows)
    theirs = matrix.toarray()
    tap.check(matrix.shape == ours.shape and matrix.indptr[-1] == matrix.nnz and np.all(matrix.data > 0),
              f"{name}: a matrix of {len(rows)} rows with values above 0", matrix.shape)
    ascending = np.diff(matrix.indices) > 0
    ascending[matrix.indptr[1:-1][np.diff(matrix.indptr)[1:] > 0] - 1] = True
    tap.check(np.all(ascending), f"{name}: latents ascend within a row")
    same = np.all((theirs > 0) == (ours > 0), axis=1)
    worst = np.max(np.abs(theirs - ours)[clear] / np.abs(ours[clear]).max())
    tap.note(f"{name}: {np.count_nonzero(~clear)} of {len(rows)} rows set aside, largest difference {worst:.1e} of the "
             f"largest value, {matrix.nnz / len(rows):.2f} values a row")
    tap.check(np.count_nonzero(clear) > 0.9 * len(rows) and np.all(same[clear]) and worst < RELATIVE,
              f"{name}: the codes of the definition",
              f"{np.count_nonzero(~same & clear)} rows select otherwise, {worst}")
    tap.check(order is None or np.array_equal(order, places(matrix)), f"{name}: places by value")
    return about, matrix


def read(path):
    with open(path, "rb") as file:
        return file.read()


def encode(config, directory, name, *settings):
    """On 1, 2 and 3 ranks, in batches of three sizes; the file that all three wrote alike."""
    paths = [os.path.join(directory, f"{name}-{ranks}.h5") for ranks in (1, 2, 3)]
    for ranks, batch, path in zip((1, 2, 3), (4096, 100, 37), paths):
        must(ranks, "encode", config, f"encode.output={path}", f"encode.batch={batch}", *settings)
        tap.check(not os.path.exists(path + ".tmp"), f"{name}: no .tmp stays")
    tap.check(all(read(path) == read(paths[0]) for path in paths), f"{name}: the same bytes on 1, 2 and 3 ranks")
    return paths[0]


def train(directory, name, **keys):
    """Settings and checkpoint of a run."""
    run = os.path.join(directory, name)
    config = trained.write_config(directory, output=run, train__tokens=150 * STEPS, model__latents=LATENTS, model__k=K,
                                  **keys)
    must(2, "train", config)
    return config, program.checkpoint_path(run, STEPS)


def of_topk(directory, rows):
    config, model = train(directory, "topk", data__scale="dataset")
    about, matrix = compare("TopK", encode(config, directory, "topk", "encode.order=true"), model, rows)
    told = {"format": "hpsae-codes", "format_version": 1, "hook": "test", "model_name": "none", "select": "topk",
            "k": K, "first_row": 0}
    tap.check(told.items() <= about.items() and "threshold" not in about, "what the file says", about)
    _, out, _ = program.run(2, "info", "--json", os.path.join(directory, "topk-1.h5"))
    told = {"kind": "codes", "rows": ROWS, "latents": LATENTS, "values": matrix.nnz, "order": True, "hook": "test",
            "select": "topk", "k": K, "first_row": 0}
    tap.check(told.items() <= json.loads(out).items(), "info tells the same of the file", out)
    part, whole = (os.path.join(directory, name) for name in ("part.h5", "topk-1.h5"))
    must(2, "encode", config, f"encode.output={part}", "encode.rows=holdout")
    about, held = compare("held-out rows", part, model, rows[-100:])
    tap.check(about["first_row"] == ROWS - 100 and (held != read_codes(whole)[1][-100:]).nnz == 0,
              "held-out rows have the codes that they have among all", about)
    must(1, "encode", config, f"encode.output={part}", "encode.rows=train", "encode.order=false")
    compare("training rows", part, model, rows[:-100])
    read_back(directory, config, model, whole, "sparsify")
    many_values(directory, config, model, rows)
    return config


def many_values(directory, config, model, rows):
    """More than one block of the file: exported with a larger k."""
    folder, wide, k = os.path.join(directory, "wide"), os.path.join(directory, "wide.h5"), 110
    must(1, "export", config, f"export.model={model}", f"export.output={folder}", f"export.k={k}")
    must(1, "import", config, f"import.input={folder}", f"import.output={wide}")
    path = encode(config, directory, "wide-codes", "encode.order=true", f"encode.model={wide}")
    about, matrix = compare(f"{k} latents a row", path, wide, rows)
    tap.check(about["k"] == k and matrix.nnz > 1 << 16, "more values than the file takes at a time", matrix.nnz)


def of_batch_topk(directory, rows):
    config, model = train(directory, "batch", data__scale="dataset", model__select="batch_topk",
                          train__threshold=THRESHOLD)
    about, matrix = compare("BatchTopK", encode(config, directory, "batch", "encode.order=true"), model, rows)
    with h5py.File(model, "r") as file:
        limit = file.attrs["threshold"] / file.attrs["scale"]
    tap.check(about["select"] == "batch_topk" and about["threshold"] == limit and matrix.data.min() > limit,
              "the threshold is that of the values", (about, limit, matrix.data.min()))
    tap.check(len(np.unique(np.diff(matrix.indptr))) > 3, "the number of values varies from row to row")
    folder = read_back(directory, config, model, os.path.join(directory, "batch-1.h5"), "saelens")
    with open(os.path.join(folder, "cfg.json"), encoding="utf-8") as file:
        told = json.load(file)
    del told["metadata"]["k"]
    with open(os.path.join(folder, "cfg.json"), "w", encoding="utf-8") as file:
        json.dump(told, file)
    unknown, path = os.path.join(directory, "unknown.h5"), os.path.join(directory, "unknown-codes.h5")
    must(1, "import", config, f"import.input={folder}", f"import.output={unknown}")
    must(2, "encode", config, f"encode.model={unknown}", f"encode.output={path}")
    about, codes = compare("a threshold of unknown k", path, unknown, rows)
    tap.check(about["k"] == 1 and abs(codes.nnz - matrix.nnz) <= 2,
              "more values than k lets expect are found all the same")


def read_back(directory, config, model, path, form):
    """Exported, imported, encoded: the same codes but for rounding.  Returns the exported folder."""
    folder, again, codes = (os.path.join(directory, f"{form}{end}") for end in ("", ".h5", "-codes.h5"))
    must(2, "export", config, f"export.model={model}", f"export.format={form}", f"export.output={folder}")
    folder = folder if form == "saelens" else os.path.join(folder, "test")
    must(3, "import", config, f"import.input={folder}", f"import.output={again}")
    must(1, "encode", config, f"encode.model={again}", f"encode.output={codes}")
    with h5py.File(model, "r") as file, h5py.File(again, "r") as read:
        tap.check(read.attrs["k"] == file.attrs["k"] and read.attrs["select"] == file.attrs["select"],
                  f"{form}: k and the selection come back")
    ours, theirs = read_codes(path)[1].toarray(), read_codes(codes)[1].toarray()
    alike = np.all((ours > 0) == (theirs > 0), axis=1)
    worst = np.max(np.abs(ours - theirs)[alike]) / ours.max()
    tap.check(np.count_nonzero(~alike) <= 3 and worst < RELATIVE, f"{form}: read back, the same codes",
              f"{np.count_nonzero(~alike)} rows select otherwise, largest difference {worst}")
    return folder


def write_jumprelu(folder, tensors):
    """A folder as SAELens leaves it."""
    os.makedirs(folder)
    header, data = {}, b""
    for name, values in tensors.items():
        words = np.ascontiguousarray(values, dtype="<f4").tobytes()
        place = [len(data), len(data) + len(words)]
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": place}
        data += words
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "sae_weights.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)
    with open(os.path.join(folder, "cfg.json"), "w", encoding="utf-8") as file:
        json.dump({"architecture": "jumprelu", "d_in": D, "d_sae": D, "dtype": "float32"}, file)


def at_the_threshold(directory):
    """Each pre-activation is a number of the row itself."""
    store, folder, model, codes = (os.path.join(directory, f"edge{end}") for end in (".h5", "", "-m.h5", "-c.h5"))
    edge = np.float32(0.7)
    above, below = np.nextafter(edge, np.float32(1)), np.nextafter(edge, np.float32(0))
    rows = np.zeros((5, D), dtype=np.float32)
    rows[1:4, 3], rows[1, 9], rows[4, :] = (edge, above, below), above, edge
    program.write_store(store, rows)
    write_jumprelu(folder, {"W_enc": np.eye(D), "b_enc": np.zeros(D), "W_dec": np.eye(D), "b_dec": np.zeros(D),
                            "threshold": np.full(D, edge)})
    config = trained.write_config(directory)
    must(1, "import", config, f"import.input={folder}", f"import.output={model}")
    must(3, "encode", config, f"encode.model={model}", f"encode.store={store}", f"encode.output={codes}",
         "encode.order=true")
    about, matrix, order = read_codes(codes)
    tap.check(matrix.indptr.tolist() == [0, 0, 1, 2, 2, 2] and matrix.indices.tolist() == [9, 3]
              and np.all(matrix.data == above) and order.tolist() == [0, 0] and about["threshold"] == np.float64(edge),
              "at the threshold nothing counts, the next float does; rows may be empty", (matrix, about))


def refusals(directory, config):
    """In the directory, by relative paths."""
    os.chdir(directory)
    program.write_store("narrow.h5", trained.planted_rows(200, 8))
    with open("a-file", "w", encoding="utf-8") as file:
        file.write("text")
    settings = trained.write_config(directory, output="young", model__select="batch_topk", train__tokens=150 * STEPS)
    must(1, "train", settings)
    cases = [
        ("another d", ["encode.store=narrow.h5"],
         "topk has d 24, but the store test has d 8; choose the store that the model is for"),
        ("a threshold that is not known", ["encode.model=young"],
         "young has no threshold yet: it is averaged from step train.threshold.start_step on, and this one has done "
         "20; train further, or lower that key"),
        ("no model", ["encode.model=none.h5"], "none.h5: cannot be opened: No such file or directory"),
        ("no store", ["encode.store=none.h5"], "none.h5: cannot be opened: No such file or directory"),
        ("an output that is a store", ["encode.output=store.h5"],
         "store.h5: exists already and holds something else than codes; set another encode.output, or remove it"),
        ("an output that is no HDF5 file", ["encode.output=a-file"],
         "a-file: not an HDF5 file, or its head is damaged"),
        ("an output below a file", ["encode.output=a-file/codes.h5"],
         "a-file: is not a directory; choose another path"),
        ("no held-out rows", ["encode.rows=holdout", "data.holdout=0"],
         "-s encode.rows=holdout: there are no held-out rows, data.holdout is 0; allowed then: train | all"),
    ]
    for name, overrides, line in cases:
        options = [word for value in ("encode.model=topk", "encode.output=x.h5", *overrides) for word in ("-s", value)]
        refusal.check(name, ["encode", config, *options], line)
    full_disk(config)
    os.chdir("/")


def full_disk(config):
    """There is room for the file as it is begun, or for older codes and little more, not for all values."""
    os.mkdir("small")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1536k", "none", "small"]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        tap.check(True, "full disks # SKIP mounting a small file system needs root")
        return
    try:
        options = ["-s", "encode.model=topk", "-s", "encode.output=small/codes.h5"]
        refusal.check("a disk that fills", ["encode", config, *options],
                      "small/codes.h5.tmp: no room for 1.8 MiB: no space left on device")
        subprocess.run(["mount", "-o", "remount,size=4m", "small"], check=True)
        must(1, "encode", config, *options[1::2])
        before = read("small/codes.h5")
        subprocess.run(["mount", "-o", "remount,size=1m", "small"], check=True)
        refusal.check("a full disk", ["encode", config, *options],
                      "small/codes.h5.tmp: no room for 1.0 MiB: no space left on device")
        tap.check(read("small/codes.h5") == before, "the older codes are as they were")
    finally:
        subprocess.run(["umount", "small"], check=False)


with program.Directory() as temporary:
    trained.make_store(temporary, ROWS, D)
    with h5py.File(os.path.join(temporary, "store.h5"), "r") as store:
        activations = store["activations/test"][...]
    topk = of_topk(temporary, activations)
    of_batch_topk(temporary, activations)
    at_the_threshold(temporary)
    refusals(temporary, topk)
tap.done()
