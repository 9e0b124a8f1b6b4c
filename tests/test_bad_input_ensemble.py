#!/usr/bin/python3
# seconds: 300
"""Ensembles that contradict themselves, their output, their store or their stages are refused in one exact line, exit
status 2, with nothing written; torn residuals are written again.  Configurations on one rank, files on 1 and 3."""
import json
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
import trained

CHAIN = "method: boosting, members: 3"
ONLY = "is given, but only the stages of ensemble.method boosting may differ"

# name, section ensemble, what the section train has more, where the line points, the line
CONFIGURATIONS = [
    ("no members", "method: bagging, members: 0", "", "0}\ntrain",
     'ensemble.members: "0" is out of range; allowed: integer from 1 to 1024'),
    ("an unknown method", "method: stacking", "", "stacking",
     'ensemble.method: "stacking" is not known; allowed: none | bagging | boosting'),
    ("members without a method", "members: 3", "", "3}",
     "ensemble.members: 3, but ensemble.method is none; allowed: 1, or another method"),
    ("sizes of a bag", "method: bagging, members: 2, latents: [64, 32]", "", "[64", f"ensemble.latents: {ONLY}"),
    ("two sizes for three stages", f"{CHAIN}, k: [4, 2]", "", "[4, 2]",
     "ensemble.k: has 2 entries; allowed: one for each of ensemble.members, 3"),
    ("a stage with k above its latents", f"{CHAIN}, latents: [64, 64, 3]", "", "[64",
     "ensemble.latents: stage 3 has k 4 of 3 latents; allowed: at most as many"),
    ("a stage smaller than the last prefix", f"{CHAIN}, latents: [64, 64, 32]",
     "objective: matryoshka, matryoshka: {prefixes: [8, 64]}", "[8, 64]",
     "train.matryoshka.prefixes: ends at 64; the last must be model.latents, 32"),
    ("one checkpoint to go on from", CHAIN, "resume: old.h5", "old.h5",
     "train.resume: names one checkpoint, and an ensemble has those of its members; allowed: auto | never"),
    ("data groups to be chosen", CHAIN, "groups: auto", "auto",
     "train.groups: auto, but an ensemble's members have one number of data groups; allowed: a number"),
    ("more groups than ranks", "method: bagging, members: 3, groups: 2", "", "2}",
     "ensemble.groups: 2, but there are 1 ranks; allowed: at most that"),
]


def place_of(value, text):
    """line:column of a value in a text, both from 1."""
    before = text[:text.index(value)]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def check_configurations():
    for name, ensemble, more, value, line in CONFIGURATIONS:
        train = ", ".join(filter(None, ("tokens: 512, batch: 128, sample: 200, eval_steps: 0", more)))
        text = f"output: new\ndata: {{store: s.h5, holdout: 50}}\nmodel: {{latents: 64, k: 4}}\nensemble: {{{ensemble}}}\n" \
               f"train: {{{train}}}\n"
        with open("bad.yaml", "w", encoding="utf-8") as file:
            file.write(text)
        refusal.check(name, ["train", "bad.yaml"], f"bad.yaml:{place_of(value, text)}: {line}", ranks=(1,))
    refusal.check("no threshold for the next stage", ["train", "c.yaml", "-s", "output=new", "-s", "model.select=batch_topk"],
                  "c.yaml:3:1: train.threshold.start_step: 1000, but a stage has 4 steps, and the next one needs its "
                  "threshold; allowed: less", ranks=(1,))


ROWS = np.random.default_rng(1).normal(size=(400, 16)).astype(np.float32)


def must(*words, status=0):
    got, out, err = program.run(1, "train", "c.yaml", *words, seconds=refusal.SECONDS)
    if got != status:
        tap.check(False, "a fixture", out + err)
        tap.done()
    return out


def copy(name, change=None, source="run"):
    """Another ensemble like the whole one, then changed."""
    shutil.copytree(source, name)
    if change is not None:
        change(name)


def describe(**keys):
    """A change of ensemble.json."""
    def change(name):
        with open(f"{name}/ensemble.json", encoding="utf-8") as file:
            about = json.load(file)
        about.update(keys)
        with open(f"{name}/ensemble.json", "w", encoding="utf-8") as file:
            json.dump(about, file)
    return change


def cut(bytes_left):
    def change(name):
        os.truncate(f"{name}/ensemble.json", bytes_left)
    return change


def other_chain(name):
    with h5py.File(f"{name}/residuals-2/residuals-00000.h5", "r+") as file:
        file.attrs["fingerprint"] = file.attrs["fingerprint"].replace("chain ", "chain 0")


def other_parameters(name):
    """Stage 1 is now another dictionary."""
    for directory in ("stage-1", "residuals-2"):
        shutil.rmtree(f"{name}/{directory}")
    shutil.copytree("other/stage-1", f"{name}/stage-1")


def no_checkpoint(name):
    shutil.rmtree(f"{name}/residuals-2")
    os.remove(program.checkpoint_path(f"{name}/stage-1", 4))


def prepare():
    program.write_store("s.h5", ROWS)
    program.write_store("t.h5", ROWS + 1)
    with open("c.yaml", "w", encoding="utf-8") as file:
        file.write("output: run\ndata: {store: s.h5, holdout: 50}\n"
                   "train: {tokens: 512, batch: 128, sample: 200, eval_steps: 0}\n"
                   "model: {latents: 64, k: 4}\nensemble: {method: boosting, members: 2}\n")
    must()
    must("-s", "output=other", "-s", "train.seed=2")
    must("-s", "output=begun", "--stage", "1")
    copy("torn", cut(90))
    copy("empty", cut(0))
    copy("strange", describe(format="another"))
    copy("shorter", describe(members=3))
    copy("foreign", other_chain, source="run")
    shutil.rmtree("foreign/stage-2")
    for name, change in (("replaced", other_parameters), ("bare", no_checkpoint)):
        copy(name, change)
        shutil.rmtree(f"{name}/stage-2")


SAYS = {name: [f"./{name}/{file}" for file in ("run.json", "used.yaml", "ensemble.json", "residuals-2.tmp")]
        for name in ("replaced", "bare")}
OTHER = "choose another output"
FOUND = "what is trained is found again"

# name, words, line, paths that may appear or change
FILES = [
    ("a stage before its predecessor", ["-s", "output=begun", "-s", "ensemble.members=3", "--stage", "3"],
     "--stage 3: stage 2 is not complete in begun; train it first, with --stage 2 or without", ()),
    ("the second stage of nothing", ["-s", "output=new", "--stage", "2"],
     "--stage 2: stage 1 is not complete in new; train it first, with --stage 1 or without", ()),
    ("a stage beyond the last", ["--stage", "3"], "--stage 3: ensemble.members is 2; allowed: 1 to that", ()),
    ("a stage of a bag", ["-s", "output=new", "-s", "ensemble.method=bagging", "--stage", "1"],
     "--stage 1: ensemble.method is bagging; only an ensemble by boosting has stages", ()),
    ("a stage of no ensemble", ["-s", "output=new", "-s", "ensemble.method=none", "-s", "ensemble.members=1", "--stage", "1"],
     "--stage 1: ensemble.method is none; only an ensemble by boosting has stages", ()),
    ("a stage that is no number", ["--stage", "first"], "--stage first: allowed: a whole number from 1 to 1024", ()),
    ("an ensemble that is there", ["-s", "train.resume=never"],
     "-s train.resume=never: never, but run holds an ensemble; set it to auto, or " + OTHER, ()),
    ("another method", ["-s", "ensemble.method=bagging"],
     "-s ensemble.method=bagging: bagging, but run holds an ensemble by boosting; " + OTHER, ()),
    ("fewer members", ["-s", "ensemble.members=1"],
     "-s ensemble.members=1: 1, but run holds an ensemble of 2; allowed: at least as many, or another output", ()),
    ("another seed", ["-s", "train.seed=3"],
     "run: an ensemble of another configuration (train.seed: 3 here, 1 there); give it back its values, or " + OTHER, ()),
    ("another size of a stage", ["-s", "ensemble.latents=[64, 32]"],
     "run: its stage-2 was begun with 64 latents, k 4, and is now to have 32, k 4; give it back its values, or " + OTHER,
     ()),
    ("another store", ["-s", "data.store=t.h5"],
     "-s data.store=t.h5: is not what run was trained on, or has changed since; give it back, or " + OTHER, ()),
    ("a torn ensemble.json", ["-s", "output=torn"], "torn/ensemble.json:5:11: torn, or not JSON; remove it: " + FOUND, ()),
    ("an empty ensemble.json", ["-s", "output=empty"],
     "empty/ensemble.json: torn: it is empty; remove it: " + FOUND, ()),
    ("another file of that name", ["-s", "output=strange"],
     "strange/ensemble.json: is not an ensemble of this program: format another; " + OTHER, ()),
    ("fewer members than said", ["-s", "output=shorter", "-s", "ensemble.members=3"],
     'shorter/ensemble.json: "member" is missing or cannot be; remove the file: ' + FOUND, ()),
    ("residuals of another chain", ["-s", "output=foreign"],
     "foreign/residuals-2: residuals of another chain of stages, or of another store; remove the directory to have them "
     "written anew", ()),
    ("a stage that was exchanged", ["-s", "output=replaced"],
     "replaced/stage-1/checkpoint-000000000004.h5: its parameters have the checksum {other}, but the stage ended with "
     "{here}; restore the stage's last checkpoint", SAYS["replaced"]),
    ("a stage without its checkpoint", ["-s", "output=bare"],
     "bare/stage-1: holds no checkpoint, but the stage is complete; restore it, or remove it all", SAYS["bare"]),
]


def checksums():
    return {name: trained.run_facts(f"{run}/stage-1")["checksum"] for name, run in (("other", "other"), ("here", "run"))}


def check_files():
    for name, words, line, leaves in FILES:
        refusal.check(name, ["train", "c.yaml", *words], line.format(**checksums()), leaves=leaves)
    refusal.check("a stage of an evaluation", ["eval", "c.yaml", "--stage", "1"],
                  "--stage: only 'hpsae train' takes it", ranks=(1,))


def check_changed_store():
    """The store is written anew after the first stage."""
    os.rename("s.h5", "kept.h5")
    program.write_store("s.h5", 2 * ROWS)
    refusal.check("a store that changed", ["train", "c.yaml", "-s", "output=begun"],
                  "c.yaml:2:15: data.store: is not what begun was trained on, or has changed since; give it back, or " + OTHER)
    os.rename("kept.h5", "s.h5")


def check_torn_residuals():
    """Truncated, unfinished, or missing residuals are recognised and written again; the end is the same."""
    for name, ending in (("truncated", 5000), ("no file", None)):
        copy(name)
        shutil.rmtree(f"{name}/stage-2")
        path = f"{name}/residuals-2/residuals-00000.h5"
        if ending is None:
            os.remove(path)
        else:
            os.truncate(path, ending)
        status, out, err = program.run(2, "train", "c.yaml", "-s", f"output={name}")
        tap.check(status == 0 and "torn, or files are missing: they are written again" in err,
                  f"{name}: residuals are written again", out + err)
        tap.check(trained.run_facts(f"{name}/stage-2")["state_checksum"] == trained.run_facts("run/stage-2")["state_checksum"],
                  f"{name}: the same bits")
    copy("lost", lambda name: os.remove(f"{name}/ensemble.json"))
    must("-s", "output=lost")
    with open("lost/ensemble.json", encoding="utf-8") as a, open("run/ensemble.json", encoding="utf-8") as b:
        tap.check(a.read() == b.read(), "without its ensemble.json, what is trained is found again")


def check_full_disk():
    os.mkdir("small")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", "small"]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        tap.check(True, "full disks # SKIP mounting a small file system needs root")
        return
    try:
        line = "small/run/residuals-2: no room for 0.1 MiB: small has 0.1 MiB; ensemble.residuals: live takes none"
        refusal.check("no room for residuals", ["train", "c.yaml", "-s", "output=small/run"], line)
        refusal.check("no room, dry run", ["train", "c.yaml", "-s", "output=small/run", "--dry-run"], line, ranks=(1,))
    finally:
        subprocess.run(["umount", "small"], check=False)


with program.Directory() as directory_of_all:
    os.chdir(directory_of_all)
    prepare()
    check_configurations()
    check_files()
    check_changed_store()
    check_torn_residuals()
    check_full_disk()
    os.chdir("/")
tap.done()
