#!/usr/bin/python3
# seconds: 600
"""What is wrong with stores, checkpoints, sizes, places to write to, and disks is said in one exact line, exit status
2, on 1 and 3 ranks, with nothing half-written; also when one rank alone has the trouble."""
import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np

import program
import refusal
import tap

FINE = """output: run
data: {store: s.h5, holdout: 50}
model: {latents: 64, k: 4}
train: {tokens: 512, batch: 128, sample: 200, eval_steps: 0}
shuffle: {input: s.h5, output: new.h5}
synth: {output: s.h5, rows: 400, dim: 16, latents: 32, active: 3}
eval: {model: run}
export: {model: run}
import: {input: exported, output: imported.h5}
"""
NAN_ROW = "nan.h5: row 17 of hook holds a NaN or an infinity; run `hpsae shuffle` with data.skip_bad_rows: true"
# A run that failed keeps what says so.
FAILED = ["./new", "./new/run.json", "./new/used.yaml", "./new/metrics.jsonl"]
CHECKPOINT = program.checkpoint_path("run", 4)
TORN = program.checkpoint_path("torn", 4)


def must(command, *options):
    status, out, err = program.run(1, command, "c.yaml", *options, seconds=refusal.SECONDS)
    if status != 0:
        tap.check(False, f"{command} of the fixture", out + err)
        tap.done()


def write(name, content):
    with open(name, "wb") as file:
        file.write(content)


def read(name):
    with open(name, "rb") as file:
        return file.read()


def rows_with(value, row):
    rows = np.random.default_rng(1).normal(size=(400, 16)).astype(np.float32)
    rows[row, 3] = value
    return rows


def prepare():
    """A good store, run and export; then what is wrong with others like them."""
    write("c.yaml", FINE.encode())
    must("synth")
    must("train")
    must("export", "-s", "export.output=exported")
    must("synth", "-s", "synth.output=wide.h5", "-s", "synth.dim=24")
    with h5py.File("nan.h5", "w") as file:
        file["activations/hook"] = rows_with(np.nan, 17)
    write("truncated.h5", read("s.h5")[:9000])
    write("empty.h5", b"")
    write("text.h5", b"no activations here")
    with h5py.File("two.h5", "w") as file:
        file["activations/a"] = rows_with(1, 0)
        file["activations/b"] = rows_with(1, 0)
    with h5py.File("integers.h5", "w") as file:
        file["activations/hook"] = np.zeros((9, 4), dtype=np.int32)
    write("bad.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': 3")
    write("bad.safetensors", (1 << 60).to_bytes(8, "little") + b"{}")
    os.mkdir("torn")
    write(TORN, read(CHECKPOINT)[:20000])
    os.mkdir("damaged")
    damaged = bytearray(read(CHECKPOINT))
    with h5py.File(CHECKPOINT, "r") as file:
        damaged[file["value/W_dec"].id.get_offset() + 40] ^= 4
    write(program.checkpoint_path("damaged", 4), bytes(damaged))
    os.mkdir("nothing")
    write("a-file", b"")
    shutil.copytree("exported", "exported-bad")
    write("exported-bad/cfg.json", b'{"architecture": "gated", "d_in": 16, "d_sae": 64}')


# name, command, overrides, line
CASES = [
    ("a store that is not there", "train", ["data.store=none.h5"],
     "none.h5: cannot be opened: No such file or directory"),
    ("an empty store", "train", ["data.store=empty.h5"], "empty.h5: empty file; an HDF5 file is needed"),
    ("a store that is no HDF5", "train", ["data.store=text.h5"], "text.h5: not an HDF5 file, or its head is damaged"),
    ("a truncated store", "train", ["data.store=truncated.h5"],
     "truncated.h5: truncated, it has only 9000 bytes; copy or write it again"),
    ("a directory without a store", "train", ["data.store=nothing"], "nothing: no file in this directory ends in .h5"),
    ("a store of two hooks", "train", ["data.store=two.h5"],
     "two.h5: has several datasets of activations: a, b; choose one with data.hook"),
    ("a hook that is not there", "train", ["data.hook=other"],
     "s.h5: no dataset other; it has: synthetic; set data.hook"),
    ("a store of integers", "train", ["data.store=integers.h5"],
     "integers.h5: dataset /activations/hook holds 32-bit integers; activations are float16, float32, float64, "
     "or uint16 words of bfloat16"),
    ("stores of two widths", "train", ["data.store=[s.h5, wide.h5]"],
     "wide.h5: d is 24, in s.h5 it is 16; activations of one place have one d"),
    ("NaN in training", "train", ["data.store=nan.h5", "output=new"],
     {1: NAN_ROW, 3: "rank 1: " + NAN_ROW}),
    ("NaN in shuffling", "shuffle", ["shuffle.input=nan.h5"],
     "nan.h5: row 17 holds NaN or infinity (1 such row in 400); set data.skip_bad_rows to leave them out"),
    ("a broken .npy", "shuffle", ["shuffle.input=bad.npy"],
     "bad.npy: damaged or truncated: its header is longer than the file or than 1 MiB"),
    ("a broken .safetensors", "shuffle", ["shuffle.input=bad.safetensors"],
     "bad.safetensors: not a safetensors file, or truncated: it says that its header has 1152921504606846976 bytes"),
    ("an output that exists", "shuffle", ["shuffle.output=nan.h5"],
     "nan.h5: exists already, and was not made from this input by this configuration; remove it, or set "
     "another shuffle.output"),
    ("a store below a file", "shuffle", ["shuffle.output=a-file/new.h5"],
     "a-file: is not a directory; choose another path"),
    ("all rows held out", "train", ["data.holdout=400"],
     "-s data.holdout=400: 400 held-out rows leave none of the store's 400 to train on; hold fewer out"),
    ("no held-out rows to evaluate", "eval", ["data.holdout=0"],
     "c.yaml:7:1: eval.rows: there are no held-out rows, data.holdout is 0; allowed then: train | all"),
    ("more rows held out than there are", "eval", ["data.holdout=401"],
     "-s data.holdout=401: no rows to evaluate: data.holdout 401 of a store of 400 rows; set data.holdout, or "
     "eval.rows to all"),
    ("evaluation asked of a run without held-out rows", "train", ["data.holdout=0", "train.eval_steps=5"],
     "-s train.eval_steps=5: no held-out rows to evaluate on, data.holdout is 0; set that, or this to 0"),
    ("another width than the checkpoint's", "eval", ["data.store=wide.h5"],
     "run has d 16, but the store synthetic has d 24; choose the store that the model is for"),
    ("a run of another width", "train", ["data.store=wide.h5"],
     "run/checkpoint-000000000004.h5: a checkpoint of d 16, but the store has d 24; choose the store that it "
     "was trained on, or another output"),
    ("a run of another configuration", "train", ["model.k=5"],
     "run/checkpoint-000000000004.h5: a checkpoint of another configuration (model.k: 5 here, 4 there); give "
     "it back its values, or choose another output"),
    ("a run that must not be resumed", "train", ["train.resume=never"],
     "-s train.resume=never: never, but run holds checkpoints of an earlier run; set it to auto, or choose "
     "another output"),
    ("a checkpoint that is not there", "train", ["train.resume=none.h5", "output=new"],
     "none.h5: cannot be opened: No such file or directory"),
    ("a checkpoint that is a store", "train", ["train.resume=s.h5", "output=new"],
     "s.h5: not a model of hpsae (no attribute format = \"hpsae-model\")"),
    ("a torn checkpoint alone", "train", ["output=torn"],
     "torn: none of its 1 checkpoints can be used; restore one, or remove them to start anew"),
    ("a damaged checkpoint alone", "train", ["output=damaged"],
     "damaged: none of its 1 checkpoints can be used; restore one, or remove them to start anew"),
    ("a torn model", "eval", [f"eval.model={TORN}"],
     "torn/checkpoint-000000000004.h5: truncated, it has only 20000 bytes; copy or write it again"),
    ("a run without checkpoints", "eval", ["eval.model=nothing"],
     "nothing: no checkpoint there (checkpoint-STEP.h5); name a run directory or a model file"),
    ("a model that is not there", "export", ["export.model=none"],
     "none: cannot be opened: No such file or directory"),
    ("a folder that is no dictionary", "import", ["import.input=nothing"],
     "nothing: no cfg.json there; name the folder that holds cfg.json and sae_weights.safetensors (SAELens) or "
     "sae.safetensors (sparsify)"),
    ("a dictionary of another kind", "import", ["import.input=exported-bad"],
     "exported-bad/cfg.json: architecture is gated; only \"topk\", and \"jumprelu\" with one threshold for all "
     "latents, can be imported"),
    ("an output below a file", "train", ["output=a-file/run"],
     "a-file: is not a directory; choose another path"),
    ("an export below a file", "export", ["export.output=a-file/out"],
     "a-file: is not a directory; choose another path"),
    ("data groups", "train", ["train.groups=2", "output=new"],
     {ranks: f"2 data groups do not divide the {ranks} ranks; set train.groups to a divisor, or start a multiple of it as "
             "ranks" for ranks in (1, 3)}),
]


def fewer_latents_than_ranks():
    refusal.check("fewer latents than ranks",
                  ["train", "c.yaml", "-s", "model.latents=2", "-s", "model.k=1", "-s", "output=new"],
                  "3 ranks for 2 latents: use at most as many ranks as latents", ranks=(3,))


def one_rank_alone():
    """Rank 2 runs in a directory whose store is truncated."""
    os.mkdir("elsewhere")
    shutil.copy("c.yaml", "elsewhere")
    shutil.copy("truncated.h5", "elsewhere/s.h5")
    words = [program.PROGRAM, "train", "c.yaml", "-s", "output=new"]
    limit = str(refusal.SECONDS * program.SLOWER)
    launcher = ["timeout", "--kill-after=5", limit, *os.environ.get("MPIRUN", "mpirun").split()]
    done = subprocess.run(launcher + ["-n", "2", *words, ":", "-n", "1", "-wdir", os.path.abspath("elsewhere"), *words],
                          env={**os.environ, **program.ENVIRONMENT}, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith(refusal.PREFIX)]
    wanted = [refusal.PREFIX + "rank 2: s.h5: truncated, it has only 9000 bytes; copy or write it again"]
    tap.check(done.returncode == 2 and lines == wanted and not os.path.exists("new"), "a store torn on one rank alone",
              f"status {done.returncode}\n{done.stdout}{done.stderr}")


def data_groups():
    """A row that the second data group meets in training, on one of its ranks: the others learn of it."""
    refusal.check("NaN in one data group",
                  ["train", "c.yaml", "-s", "data.store=nan.h5", "-s", "output=new", "-s", "train.groups=2", "-s",
                   "train.sample=2", "-s", "train.seed=2"], {2: "rank 1: " + NAN_ROW, 4: "rank 3: " + NAN_ROW}, ranks=(2, 4), leaves=FAILED)
    shutil.rmtree("new", ignore_errors=True)
    refusal.check("a checkpoint of another number of data groups", ["train", "c.yaml", "-s", "train.groups=2"],
                  f"{CHECKPOINT}: a checkpoint of another configuration (train.groups: 2 here, 1 there); give it back its "
                  "values, or choose another output", ranks=(2,))


def full_disk():
    """A file system of 64 KiB, all but full."""
    os.mkdir("small")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", "small"]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        tap.check(True, "full disks # SKIP mounting a small file system needs root")
        return
    try:
        write("small/filler", bytes(44 * 1024))
        left = [name.replace("./new", "./small/run") for name in FAILED] + ["./small/new.h5"]  # a folder
        for name, command, key, line in FULL:
            place = "small/run" if command == "train" else "small/new.h5"
            refusal.check(name, [command, "c.yaml", "-s", f"{key}={place}"], line, leaves=left)
    finally:
        subprocess.run(["umount", "small"], check=False)


FULL = [
    ("a full disk under a run", "train", "output",
     "small/run/checkpoint-000000000004.h5.tmp: no room for 0.3 MiB: no space left on device; the older "
     "checkpoint is kept"),
    ("a full disk under a shuffle", "shuffle", "shuffle.output",
     "small/new.h5.tmp: no room for 0.3 MiB: no space left on device"),
    ("a full disk under planted rows", "synth", "synth.output",
     "small/new.h5.tmp: no room for 0.3 MiB: no space left on device"),
    ("a full disk under an export", "export", "export.output",
     "small/new.h5/sae_weights.safetensors.tmp: no room for 0.0 MiB: no space left on device"),
    ("a full disk under an import", "import", "import.output",
     "small/new.h5.tmp: no room for 0.3 MiB: no space left on device; nothing was changed"),
]

with program.Directory() as directory:
    os.chdir(directory)
    prepare()
    for name, command, overrides, line in CASES:
        options = [word for value in overrides for word in ("-s", value)]
        refusal.check(name, [command, "c.yaml", *options], line, leaves=FAILED)
        shutil.rmtree("new", ignore_errors=True)
    fewer_latents_than_ranks()
    one_rank_alone()
    data_groups()
    full_disk()
    os.chdir("/")
tap.done()
