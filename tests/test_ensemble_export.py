#!/usr/bin/python3
# seconds: 600
"""Exports of ensembles, read back by analysis/ensemble_loader.py, are the ensembles: the same forward pass as the
definition (NumPy, double precision, from the checkpoints) to 1e-5 of each row's norm, the same codes as `hpsae encode`
writes; a bagging of thresholds as one folder, any other bagging as its members and as a concatenation of which each
member's latents select on their own (which a single top-k does not give), boosting as its stages in the store's units;
the same bytes on 1, 2 and 3 ranks; what SAELens cannot hold is refused in one line.

SAELens itself, where PEERS_PYTHON has it, computes the same from them: concatenations of thresholds as they are, of TopK
with the members' selection put in, chains through the loader.
"""
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ANALYSIS = os.path.join(HERE, "..", "analysis")
sys.path[:0] = [os.path.join(HERE, "oracle"), ANALYSIS]
import h5py
import numpy as np
import scipy.sparse

import ensemble_loader
import ensembles
import program
import refusal
import tap
import trained

D, ROWS = 45, 700
COMMON = {"data__scale": "dataset", "model__latents": 140, "model__k": 5, "train__tokens": 6000}
THRESHOLD = {"model__select": "batch_topk", "train__threshold__start_step": 3, "train__threshold__decay": 0.5}
SIZES = [{}, {"model__latents": 207, "model__k": 7}, {"model__latents": 65, "model__k": 3}]
FORWARD, CODES = 1e-5, 2e-5
PEER = """
import sys, warnings
warnings.filterwarnings("ignore")
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
import ensemble_loader
from sae_lens import SAE
x = torch.tensor(np.load(sys.argv[2]))
with torch.no_grad():
    for folder, native, out in zip(sys.argv[3::3], sys.argv[4::3], sys.argv[5::3]):
        run = SAE.load_from_disk(folder, dtype="float32") if native == "native" else ensemble_loader.load_sae_lens(folder)
        np.save(out, run(x).numpy())
"""


def files_of(folder):
    """{relative path: bytes}."""
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(base, name), "rb") as file:
                found[os.path.relpath(os.path.join(base, name), folder)] = file.read()
    return found


def export(config, directory, place, name):
    """On 1, 2 and 3 ranks; the folder that all wrote alike."""
    folders = [os.path.join(directory, f"{name}-{ranks}") for ranks in (1, 2, 3)]
    for ranks, folder in zip((1, 2, 3), folders):
        status, out, err = program.run(ranks, "export", config, "-s", f"export.model={place}", "-s",
                                       f"export.output={folder}")
        tap.check(status == 0, f"{name} is exported on {ranks} ranks", f"status {status}\n{out}{err}")
    same = files_of(folders[0])
    tap.check(all(files_of(folder) == same for folder in folders), f"{name}: the same bytes on 1, 2 and 3 ranks")
    return folders[0], sorted(same)


def encoded(config, directory, place):
    path = os.path.join(directory, "codes.h5")
    status, _, err = program.run(2, "encode", config, "-s", f"encode.model={place}", "-s", f"encode.output={path}")
    tap.check(status == 0, "its codes are written", err)
    with h5py.File(path, "r") as file:
        codes = file["codes"]
        return scipy.sparse.csr_matrix((codes["data"][:], codes["indices"][:], codes["indptr"][:]),
                                       shape=codes.attrs["shape"]).toarray()


def compare(name, found, want, clear):
    """Forward passes in the store's units."""
    error = np.linalg.norm(found - want, axis=1)[clear] / np.linalg.norm(want, axis=1)[clear]
    tap.note(f"{name}: largest relative difference {error.max():.1e}; {np.sum(~clear)} of {len(want)} rows set aside")
    tap.check(np.mean(clear) > 0.9 and error.max() < FORWARD, f"{name}: the ensemble's forward pass", error.max())


def check(config, directory, place, ensemble, rows, kind):
    """[(folder, how SAELens is to load it, what it should give, the rows that are clear)]."""
    name = f"{ensemble.method} of {kind}"
    folder, files = export(config, directory, place, name.replace(" ", "-"))
    given, _, clear = ensemble.forward(rows.astype(np.float64) * ensemble.scale)
    want = ensemble.whole(given) / ensemble.scale
    codes = encoded(config, directory, place)
    peers = []
    for part in [folder] + [os.path.join(folder, "concatenated")] * ("concatenated/cfg.json" in files):
        read = ensemble_loader.load(part)
        words = name + (", concatenated" if part != folder else "")
        compare(words, read(rows), want, clear)
        worst = np.max(np.abs(read.encode(rows) - codes)[clear]) / codes.max()
        tap.check(worst < CODES, f"{words}: the codes of hpsae encode", worst)
        native = kind == "thresholds" and ensemble.method == "bagging"
        peers.append((words, part, "native" if native else "loader", want, clear))
    return peers, folder, files


def bagging_of_thresholds(config, directory, rows):
    place, ensemble = ensembles.bagging(directory, {**COMMON, **THRESHOLD}, SIZES)
    peers, folder, files = check(config, directory, place, ensemble, rows, "thresholds")
    about = ensemble_loader.read_json(os.path.join(folder, "cfg.json"))
    tap.check(files == ["cfg.json", "sae_weights.safetensors"] and about["architecture"] == "jumprelu"
              and about["metadata"]["hpsae_ensemble"]["exact"], "one folder of SAELens", (files, about))
    weights = ensemble_loader.read_tensors(os.path.join(folder, "sae_weights.safetensors"))
    tap.check(np.allclose(np.linalg.norm(weights["W_dec"], axis=1), 1, atol=1e-5), "decoder rows have norm 1")
    os.rename(place, place + "-thresholds")
    return peers


def bagging_of_topk(config, directory, rows):
    place, ensemble = ensembles.bagging(directory, COMMON, SIZES)
    peers, folder, files = check(config, directory, place, ensemble, rows, "TopK")
    tap.check("index.json" in files and "concatenated/cfg.json" in files and "member-3/cfg.json" in files,
              "members, a concatenation and an index", files)
    whole = os.path.join(folder, "concatenated")
    about = ensemble_loader.read_json(os.path.join(whole, "cfg.json"))
    told = about["metadata"]["hpsae_ensemble"]
    tap.check(not told["exact"] and "another model" in told["note"] and about["k"] == 15
              and told["offsets"] == ensemble.offsets.tolist() and told["selection"] == [{"k": 5}, {"k": 7}, {"k": 3}],
              "the concatenation says how it selects", about)
    joint = ensemble_loader.Dictionary(whole)
    joint.ranges = [(0, joint.latents, about["k"], None)]
    given, _, clear = ensemble.forward(rows.astype(np.float64) * ensemble.scale)
    want = ensemble.whole(given)[clear] / ensemble.scale
    other = np.linalg.norm(joint.decode(joint.encode(rows[clear])) - want, axis=1) / np.linalg.norm(want, axis=1)
    tap.check(np.median(other) > 1e-3, "which a single top-k over all latents is not", np.median(other))
    os.rename(place, place + "-topk")
    return peers


def mixed(config, directory, rows):
    place, ensemble = ensembles.bagging(directory, COMMON, [{}, THRESHOLD])
    peers, _, _ = check(config, directory, place, ensemble, rows, "both")
    return peers


def boosting(config, directory, rows):
    place, ensemble = ensembles.boosting(directory, COMMON, [*SIZES, THRESHOLD])
    peers, folder, files = check(config, directory, place, ensemble, rows, "TopK and a threshold")
    index = ensemble_loader.read_json(os.path.join(folder, "index.json"))
    tap.check(index["folders"] == ["stage-1", "stage-2", "stage-3", "stage-4"] and index["concatenated"] is None
              and len(files) == 9, "stages and an index", (index, files))
    script = os.path.join(ANALYSIS, "ensemble_loader.py")
    done = subprocess.run([sys.executable, script, folder, os.path.join(directory, "rows.npy")], capture_output=True,
                          text=True, check=False)
    _, out, _ = program.run(1, "eval", config, "--json", "-s", f"eval.model={place}", "-s", "eval.rows=all")
    tap.check(done.returncode == 0 and f"ev {json.loads(out)['ev']:.5f}" in done.stdout,
              "as a script, the loader says the ev of hpsae eval", (done.stdout + done.stderr, out[:200]))
    done = subprocess.run([sys.executable, script, directory], capture_output=True, text=True, check=False)
    tap.check(done.returncode == 2 and done.stderr.count("\n") == 1, "and what it cannot read, in one line", done.stderr)
    return peers


def with_sae_lens(directory, peers):
    python = os.environ.get("PEERS_PYTHON", "python3")
    outputs = [os.path.join(directory, f"peer-{i}.npy") for i in range(len(peers))]
    words = [word for (_, folder, native, _, _), out in zip(peers, outputs) for word in (folder, native, out)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "disabled"}
    try:
        found = subprocess.run([python, "-c", "import sae_lens"], env=environment, capture_output=True, check=False)
    except OSError:
        found = None
    if found is None or found.returncode != 0:
        tap.check(True, f"SAELens computes the same # SKIP sae-lens is not installed for {python}")
        return
    done = subprocess.run([python, "-c", PEER, ANALYSIS, os.path.join(directory, "rows.npy"), *words], env=environment,
                          capture_output=True, text=True, check=False)
    if tap.check(done.returncode == 0, "SAELens loads what is exported", done.stderr):
        for (name, _, native, want, clear), out in zip(peers, outputs):
            compare(f"SAELens, {native}: {name}", np.load(out), want, clear)


def refusals(config, directory):
    os.chdir(directory)
    cases = [("another program", "export.format=sparsify",
              "an ensemble is exported to SAELens alone; set export.format to saelens, or name one member (member-1) in "
              "export.model"),
             ("another k", "export.k=3",
              "export.k: of an ensemble all latents are exported, with the members' own k; leave it out, or name one "
              "member (member-1) in export.model"),
             ("a prefix", "export.prefix=30",
              "export.prefix: of an ensemble all latents are exported, with the members' own k; leave it out, or name "
              "one member (member-1) in export.model")]
    for name, override, line in cases:
        refusal.check(name, ["export", config, "-s", "export.model=bagging-topk", "-s", "export.output=x", "-s",
                             override], line)
    os.chdir("/")


with program.Directory() as path:
    trained.make_store(path, ROWS, D)
    with h5py.File(os.path.join(path, "store.h5"), "r") as store:
        activations = store["activations/test"][...]
    np.save(os.path.join(path, "rows.npy"), activations)
    settings = trained.write_config(path, output=os.path.join(path, "out"), **COMMON)
    tasks = [task for make in (bagging_of_thresholds, bagging_of_topk, mixed, boosting)
             for task in make(settings, path, activations)]
    with_sae_lens(path, tasks)
    refusals(settings, path)
tap.done()
