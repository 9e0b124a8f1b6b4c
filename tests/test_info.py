#!/usr/bin/python3
# seconds: 300
"""The program tells what it is and what a file is, for people and as JSON; help speaks once, from rank 0; every example
configuration is ready for the commands that it names; a model says how it selects."""
import glob
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np

import ensembles
import program
import tap
import trained

READY = {"demo": ("shuffle", "train", "eval", "export"), "tiny": ("synth", "train", "eval"),
         "synth": ("synth", "train", "eval"), "train": ("train", "eval", "export"),
         "ensemble": ("synth", "train", "eval"), "sweep": ("synth", "sweep"), "nightly": ("sweep",), "nightly-small": ("sweep",)}


def said(ranks, *arguments):
    """stdout of a call that must succeed and say nothing on stderr."""
    status, out, err = program.run(ranks, *arguments, seconds=60)
    tap.check(status == 0 and "hpsae" not in err, f"{' '.join(map(str, arguments))}: status 0", f"{status}\n{out}{err}")
    return out


def facts(*arguments):
    out = said(2, "info", "--json", *arguments)
    try:
        return json.loads(out)
    except ValueError:
        tap.check(False, "one JSON object", out)
        return {}


def program_speaks():
    version = said(2, "--version")
    tap.check(version.count("hpsae ") == 1, "the version is said once", version)
    for name in ("compiler", "flags", "mpi", "hdf5", "blas_core"):
        tap.check(f"  {name} " in version, f"the version names {name}", version)
    usage = said(2, "--help")
    tap.check(usage.count("Usage: ") == 1 and all(f"  {command} " in usage for command in ("synth", "train", "info")),
              "help lists the commands, once", usage)
    tap.check("CONFIG.yaml" in said(1, "train", "--help"), "a command has its own help")
    about = facts()
    tap.check(about.get("ranks") == 2 and about.get("backend") in about.get("backends", []), "info names the build", about)


def keys_are_yaml(directory):
    """What --help-config prints is itself a configuration, of all defaults."""
    text = said(1, "train", "--help-config")
    tap.check("  # learning rate" in text and "shuffle:" not in text, "the keys of train are explained", text)
    path = os.path.join(directory, "keys.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    about = facts(path)
    tap.check(about.get("train", "").endswith("output: missing, and 'train' needs it; allowed: text"),
              "the printed keys read back", about)


def examples_are_ready():
    for path in sorted(glob.glob(os.path.join(program.HERE, "..", "..", "configs", "*.yaml"))):
        name = os.path.splitext(os.path.basename(path))[0]
        about = facts(path)
        lacking = {command: about.get(command) for command in READY[name] if about.get(command) != "ready"}
        tap.check(not lacking, f"configs/{name}.yaml is ready", lacking)


def files_are_known(directory):
    trained.make_store(directory, 300, 12)
    config = trained.write_config(directory, train__tokens=300, model__latents=40, model__k=3)
    said(2, "train", config)
    run, store = os.path.join(directory, "run"), os.path.join(directory, "store.h5")
    about = facts(store)
    tap.check((about.get("kind"), about.get("rows"), about.get("d")) == ("activations", 300, 12), "a store", about)
    ended = trained.run_facts(run)
    for path in (run, program.checkpoint_path(run, 2)):
        about = facts(path)
        tap.check((about.get("kind"), about.get("latents"), about.get("step")) == ("model", 40, 2), "a model", about)
        tap.check(about.get("checksum") == ended["checksum"], "its checksum is run.json's", about)
    used = facts(os.path.join(run, "used.yaml"))
    tap.check(used.get("kind") == "configuration" and used.get("train") == "ready", "a configuration", used)
    tap.check(used.get("config_hash") == about.get("config_hash"), "used.yaml hashes as the checkpoint says", used)


def selections_are_told(directory):
    """A threshold is null until it is known; nested sizes and the weights of a score are named."""
    def about_run(name, **keys):
        config = trained.write_config(directory, output=os.path.join(directory, name), train__tokens=300,
                                      model__latents=40, model__k=3, **keys)
        said(1, "train", config)
        return facts(os.path.join(directory, name))

    plain = about_run("plain")
    tap.check(plain.get("select") == "topk" and not {"threshold", "alpha", "prefixes"} & set(plain), "topk", plain)
    young = about_run("young", model__select="batch_topk")
    tap.check(young.get("select") == "batch_topk" and young.get("threshold", 0) is None, "no threshold yet", young)
    nested = about_run("nested", model__select="batch_topk", train__threshold={"start_step": 0},
                       train__objective="matryoshka", train__matryoshka={"prefixes": [5, 20, 40]})
    tap.check(nested.get("threshold", -1) > 0 and nested.get("prefixes") == [5, 20, 40], "threshold and sizes", nested)


def ensembles_are_told(directory):
    """Whole or not, by the directory or by ensemble.json; a file of residuals names its stage."""
    place = os.path.join(directory, "ensemble")
    runs = [ensembles.train(directory, os.path.join(place, f"member-{j}"), train__tokens=300, model__latents=40 + j,
                            model__k=3) for j in (1, 2)]
    ensembles.write_file(place, "bagging", runs)
    about, path = facts(place), os.path.join(place, "ensemble.json")
    told = {"kind": "ensemble", "method": "bagging", "members": 2, "complete": True, "trained": 2, "latents": 83, "k": 6,
            "d": 12, "hook": "test"}
    tap.check(told.items() <= about.items() and about["member"][1]["directory"] == "member-2"
              and about["member"][1]["checksum"] == trained.run_facts(runs[1])["checksum"], "an ensemble", about)
    tap.check(facts(path) == about, "its file tells the same")
    with open(path, encoding="utf-8") as file:
        told = json.load(file)
    told["member"][1].update({"complete": False, "checksum": None})
    with open(path, "w", encoding="utf-8") as file:
        json.dump(told, file)
    about = facts(place)
    tap.check((about["complete"], about["trained"], about["member"][1]["checksum"]) == (False, 1, None),
              "one that is not complete", about)
    residuals = os.path.join(directory, "residuals-00000.h5")
    program.write_store(residuals, trained.planted_rows(300, 12))
    facts_of_residuals = {"parent_stage": 2, "parent_config_hash": "00000000000000aa", "parent_store": "b" * 16,
                          "parent_checksum": "c" * 16, "parent_store_file": "store.h5", "complete": 1}
    for complete in (1, 0):
        with h5py.File(residuals, "a") as file:
            file.attrs.update({key: np.bytes_(value) if isinstance(value, str) else value
                               for key, value in {**facts_of_residuals, "complete": complete}.items()})
        about = facts(residuals)
        told = {"kind": "residuals", "file": residuals, "complete": bool(complete), "after_stage": 2,
                "config_hash": "00000000000000aa", "stage_checksum": "c" * 16, "store_file": "store.h5"}
        tap.check(told.items() <= about.items() and about.get("rows", 300) == 300,
                  f"residuals, {'complete' if complete else 'not complete'}", about)


with program.Directory() as temporary:
    program_speaks()
    keys_are_yaml(temporary)
    examples_are_ready()
    files_are_known(temporary)
    selections_are_told(temporary)
    ensembles_are_told(temporary)
tap.done()
