#!/usr/bin/python3
# seconds: 600
"""Members of an ensemble are the same bits on 1, 2 and 3 ranks, side by side and one after another, at once and by turns;
the first is the plain run, and each is what its used.yaml trains alone.  A boosted chain on files of residuals is that
on live ones, also of other selections, objectives, sizes, data groups and stores of several files; its residuals are
those of an independent NumPy oracle, row for row the store's, and what they leave never grows; a chain by stages, or one
that grows later, is that of a single job."""
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

ROWS, D, HELD_OUT = 9000, 45, 100  # more than two slabs of residuals
HOOK = "activations/test"
LINES = ["ensemble.method=bagging", "ensemble.members=3"]
CHAIN = ["ensemble.method=boosting", "ensemble.members=3"]


def train(name, ranks, *settings, config="config.yaml", more=()):
    words = [word for setting in (f"output={name}", *settings) for word in ("-s", setting)]
    status, out, err = program.run(ranks, "train", config, *words, *more)
    if not tap.check(status == 0, f"{name}: trains on {ranks} rank{'s' if ranks > 1 else ''}", out + err):
        tap.done()
    return out


def facts(run):
    """What must be the same bits of one run."""
    return trained.run_facts(run)["state_checksum"], trained.run_facts(run)["checksum"], trained.exact_lines(run)


def described(output):
    with open(f"{output}/ensemble.json", encoding="utf-8") as file:
        return json.load(file)


def same(name, one, other):
    """Two ensembles, member for member."""
    a, b = described(one), described(other)
    names = [member["directory"] for member in a["member"]]
    bits = all(facts(f"{one}/{n}") == facts(f"{other}/{n}") for n in names)
    said = [[m[key] for key in ("directory", "complete", "checksum", "n", "k", "config_hash", "ev")]
            for e in (a, b) for m in e["member"]]
    tap.check(bits and said[:len(names)] == said[len(names):], name)


def residuals(output, stage, part=0):
    with h5py.File(f"{output}/residuals-{stage}/residuals-{part:05d}.h5") as file:
        return file[HOOK][...]


def check_bagging():
    train("plain", 1)
    train("bag", 1, *LINES)
    tap.check(facts("plain") == facts("bag/member-1"), "the first member of a bag is the plain run")
    runs = [facts(f"bag/member-{j}") for j in (1, 2, 3)]
    tap.check(len({run[1] for run in runs}) == 3, "the members differ")
    tap.check([m["checksum"] for m in described("bag")["member"]] == [run[1] for run in runs],
              "ensemble.json names their checksums")
    train("alone", 2, "output=alone", config="bag/member-2/used.yaml")
    tap.check(facts("alone") == runs[1], "a member is what its used.yaml trains alone")
    for name, ranks, more in (("three groups", 3, ()), ("two ranks, at once", 2, ()),
                              ("two ranks, by turns", 2, ("ensemble.together=false",)),
                              ("two uneven groups", 3, ("ensemble.groups=2", "ensemble.together=false"))):
        train(name, ranks, *LINES, *more)
        same(f"{name}: the same bits", "bag", name)
    train("wide", 2, "ensemble.method=bagging", "ensemble.members=2", "model.select=gradient")
    train("narrow", 1, "ensemble.method=bagging", "ensemble.members=2", "model.select=gradient", "ensemble.together=false")
    same("members with gradients: the same bits", "wide", "narrow")


def check_residuals():
    """r^(2) is scale x - g_1, r^(3) is r^(2) - g_2; tokens and labels are the store's."""
    x = STORE * ensembles.Member("chain/stage-1").scale
    for stage in (1, 2):
        member, after = ensembles.Member(f"chain/stage-{stage}"), residuals("chain", stage + 1)
        there, _, clear = member.forward(x)
        far = np.abs(x - there - after).max(axis=1)[clear].max()
        tap.check(after.dtype == np.float32 and clear.mean() > 0.9 and far < 2e-5 * np.abs(x).max(),
                  f"the residuals after stage {stage} are those of the oracle", f"{far}, {clear.mean()}")
        x = after.astype(np.float64)
    with h5py.File("chain/residuals-3/residuals-00000.h5") as file, h5py.File("store.h5") as store:
        tap.check(all((file[name][...] == store[name][...]).all() for name in ("tokens/id", "labels/a", "gradients/test")),
                  "tokens, labels and gradients are the store's")
        parents = [file.attrs[key] for key in ("parent_store", "parent_stage", "parent_config_hash", "parent_checksum")]
        about = described("chain")
        wanted = [about["store_identity"], 2, about["member"][1]["config_hash"], about["member"][1]["checksum"]]
        tap.check(parents == wanted, "a file of residuals names its parents", f"{parents} {wanted}")
        mean = file[HOOK].attrs["mean"]
        tap.check(np.allclose(mean, x.mean(axis=0), rtol=1e-9, atol=1e-9), "and has its statistics")


def check_explained():
    """What is left of rows never grows; ensemble.json has the held-out ev that the files give."""
    scaled = STORE * ensembles.Member("chain/stage-1").scale
    left = [scaled - scaled[:-HELD_OUT].mean(axis=0)] + [residuals("chain", j).astype(np.float64) for j in (2, 3)]
    train_ev = [1 - np.sum(r[:-HELD_OUT]**2) / np.sum(left[0][:-HELD_OUT]**2) for r in left]
    status, out, err = program.run(1, "eval", "chain/stage-3/used.yaml", "-s", "eval.rows=train", "--json")
    after = json.loads(out)["mse"] * (ROWS - HELD_OUT) if status == 0 else np.nan
    train_ev.append(1 - after / np.sum(left[0][:-HELD_OUT]**2))
    tap.check(all(a < b for a, b in zip(train_ev, train_ev[1:])), "ev on training rows grows from stage to stage",
              f"{train_ev} {err}")
    spread = np.sum((scaled[-HELD_OUT:] - scaled[-HELD_OUT:].mean(axis=0))**2)
    held_ev = [1 - np.sum(r[-HELD_OUT:]**2) / spread for r in left[1:]]
    said = [m["ev"] for m in described("chain")["member"]]
    tap.check(np.allclose(said[:2], held_ev, atol=1e-6) and said[0] < said[1] < said[2],
              "ensemble.json has the held-out ev of the chain", f"{said} {held_ev}")


def check_boosting():
    out = train("chain", 1, *CHAIN, "ensemble.keep=all")
    tap.check("rows/s" in out and "MB/s written" in out and "ev of the chain of 3 stages" in out, "the log tells of it", out)
    tap.check(facts("plain") == facts("chain/stage-1"), "the first stage of a chain is the plain run")
    check_residuals()
    check_explained()
    for name, ranks, more in (("chain on 3", 3, ()), ("live", 2, ("ensemble.residuals=live",)),
                              ("live on 3", 3, ("ensemble.residuals=live",))):
        train(name, ranks, *CHAIN, *more)
        same(f"{name}: the same bits", "chain", name)
    with open("chain/residuals-3/residuals-00000.h5", "rb") as a, open("chain on 3/residuals-3/residuals-00000.h5", "rb") as b:
        tap.check(a.read() == b.read(), "the files of residuals are the same bytes on 1 and 3 ranks")
    kept = [name for name in os.listdir("chain on 3") if "residuals" in name]
    tap.check(kept == ["residuals-3"], "the last residuals alone are kept", kept)
    tap.check(not any("residuals" in name for name in os.listdir("live")), "live residuals leave no file")
    train("one", 2, "ensemble.method=boosting")
    tap.check(facts("plain") == facts("one/stage-1"), "a chain of one stage is the plain run")


def check_steps():
    """A job a stage, and a chain that grows."""
    for stage, ranks in ((1, 2), (2, 1), (3, 3)):
        train("jobs", ranks, *CHAIN, more=("--stage", stage))
    same("a job for each stage: the same bits", "chain", "jobs")
    train("grown", 1, "ensemble.method=boosting", "ensemble.members=2")
    os.rename("grown/stage-1", "grown/away")
    os.rename("grown/residuals-2", "grown/lost")
    train("grown", 2, *CHAIN)
    same("a chain that grows, of which a stage and its residuals were lost: the same bits", "chain", "grown")


def check_kinds():
    """Other members, on files by one number of ranks, live by another."""
    for name, ranks, more in (
            ("batch_topk, average", (3, 2), ("model.select=batch_topk", "train.threshold.start_step=3", "train.ema=0.9")),
            ("gradient, other sizes", (2, 1), ("model.select=gradient", "ensemble.latents=[96, 331, 128]", "ensemble.k=[9, 3, 5]")),
            ("matryoshka, token scale", (1, 3), ("train.objective=matryoshka", "data.scale=token")),
            ("hierarchical, no statistics, two files", (2, 3), ("train.objective=hierarchical", "data.store=[a.h5, b.h5]")),
            ("two data groups", (2, 4), ("train.groups=2",))):
        train(f"{name}, files", ranks[0], *CHAIN, *more)
        train(f"{name}, live", ranks[1], *CHAIN, *more, "ensemble.residuals=live")
        same(f"{name}: live as on files", f"{name}, files", f"{name}, live")
    sizes = [(m["n"], m["k"]) for m in described("gradient, other sizes, live")["member"]]
    tap.check(sizes == [(96, 9), (331, 3), (128, 5)], "stages have the sizes asked for", sizes)
    parts = "hierarchical, no statistics, two files, files"
    tap.check([len(residuals(parts, 3, i)) for i in (0, 1)] == [5000, 4000], "residuals have the store's files")


def write_part(name, rows, first, statistics):
    program.write_store(name, rows, gradients=GRADIENTS[first:first + len(rows)])
    with h5py.File(name, "r+") as file:
        file["tokens/id"] = np.arange(first, first + len(rows), dtype=np.int32)
        file["labels/a"] = np.arange(first, first + len(rows), dtype=np.int32) % 7
        for key in () if statistics else ("mean", "mean_sq_norm"):
            del file[HOOK].attrs[key]


with program.Directory() as directory:
    os.chdir(directory)
    STORE = trained.planted_rows(ROWS, D).astype(np.float32).astype(np.float64)
    GRADIENTS = np.random.default_rng(3).normal(size=(ROWS, D))
    write_part("store.h5", STORE, 0, True)
    write_part("a.h5", STORE[:5000], 0, False)
    write_part("b.h5", STORE[5000:], 5000, False)
    trained.write_config(".", data__holdout=HELD_OUT, data__store="store.h5", model__latents=160, model__k=5)
    check_bagging()
    check_boosting()
    check_steps()
    check_kinds()
    os.chdir("/")
tap.done()
