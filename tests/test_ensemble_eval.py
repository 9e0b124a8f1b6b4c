#!/usr/bin/python3
# seconds: 600
"""Every figure of `hpsae eval` of an ensemble equals its definition in NumPy: of bagging, whose mse is its members' less
their spread and never above the members' mean, and of a boosted chain, stage by stage; members of other sizes and
selections, thresholds that let through more than there is room for; the same bits on 1, 2 and 3 ranks.  What is no
ensemble, or not whole, is refused in one line.
"""
import json
import os
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np

import ensembles
import metrics
import program
import refusal
import tap
import trained

D, ROWS, HOLDOUT, DEAD = 45, 1300, 130, 3000
TOLERANCE, IDENTITY = 3e-6, 1e-5
COMMON = {"data__holdout": HOLDOUT, "data__scale": "dataset", "model__latents": 140, "model__k": 5,
          "train__tokens": 6000}
THRESHOLD = {"model__select": "batch_topk", "train__threshold__start_step": 3, "train__threshold__decay": 0.5}
MEMBERS = [{}, {"model__latents": 200, "model__k": 7, "train__ema": 0.9}, THRESHOLD]


def evaluate(config, model, ranks, *overrides):
    options = [word for value in (f"eval.model={model}", *overrides) for word in ("-s", value)]
    status, out, err = program.run(ranks, "eval", config, "--json", *options)
    tap.check(status == 0, f"{os.path.basename(model)} is evaluated on {ranks} ranks", f"status {status}\n{out}{err}")
    return json.loads(out) if status == 0 else None


def dead_of(ensemble):
    silent = [np.sum(m.tokens - m.fired >= DEAD) for m in ensemble.members]
    return sum(silent) / ensemble.offsets[-1]


def expected(ensemble, x):
    """What eval should find."""
    given, Z, _ = ensemble.forward(x)
    xhat, scale = ensemble.whole(given), ensemble.scale
    ev = metrics.explained(x, xhat)
    active = [np.mean(np.sum(Z[:, a:b] > 0, axis=1)) for a, b in zip(ensemble.offsets[:-1], ensemble.offsets[1:])]
    members = range(1, len(ensemble.members) + 1)
    mse = [np.mean(np.sum((x - g) ** 2, axis=1)) / scale**2 for g in given]
    counts, never = metrics.density(Z)
    want = {"mse": np.mean(np.sum((x - xhat) ** 2, axis=1)) / scale**2, "fvu": 1 - ev, "ev": ev,
            "ev_dimmean": metrics.explained_by_dimension(x, xhat), "l0": sum(active),
            "alive_eval": np.mean(np.any(Z > 0, axis=0)), "dead": dead_of(ensemble),
            "evs": [metrics.explained(x, ensemble.whole(given, j)) for j in members],
            "l0s": np.cumsum(active).tolist(), "ks": np.cumsum([m.k for m in ensemble.members]).tolist(),
            "counts": counts, "never": never}
    if ensemble.method == "bagging":
        want.update({"members_ev": np.mean([metrics.explained(x, g) for g in given]), "members_mse": np.mean(mse),
                     "spread": np.mean([np.mean(np.sum((g - xhat) ** 2, axis=1)) for g in given]) / scale**2})
    return want


def check(name, found, want):
    found = {**found, "evs": found["ev_at_k"]["ev"], "l0s": found["ev_at_k"]["l0"], "ks": found["ev_at_k"]["k"],
             "counts": found["density"]["counts"], "never": found["density"]["never"]}
    for key, value in want.items():
        worst = np.max(np.abs(np.subtract(found[key], value)) / np.maximum(np.abs(value), 1e-3))
        tap.check(worst <= TOLERANCE, f"{name}: {key}", f"found {found[key]}, defined as {value}")


def check_ensemble(config, directory, place, ensemble):
    with h5py.File(os.path.join(directory, "store.h5"), "r") as file:
        x = file["activations/test"][-HOLDOUT:].astype(np.float64) * ensemble.scale
    found = evaluate(config, place, 1)
    check(ensemble.method, found, expected(ensemble, x))
    for ranks in (2, 3):
        tap.check(evaluate(config, place, ranks) == found, f"{ensemble.method}: the same bits on {ranks} ranks")
    other = evaluate(config, place, 2, "eval.batch=37")
    tap.check(abs(other["ev"] - found["ev"]) < 1e-12, f"{ensemble.method}: and, but for rounding, in other batches")
    tap.check(found["ensemble"] == ensemble.method and found["latents"] == ensemble.offsets[-1]
              and [m["directory"] for m in found["member"]][-1].endswith("-3"), "what the figures are of", found)
    tap.check("max_cos" in found["left_out"] and not set(found["left_out"]) & set(found),
              "what is not measured is named", found["left_out"])
    return found


def check_bagging(config, place, found):
    tap.check(found["mse"] <= found["members_mse"], "the mse is never above the members' mean", found)
    both = found["members_mse"] - found["spread"]
    tap.check(abs(found["mse"] / both - 1) < IDENTITY and found["identity"] == both,
              "the mse is the members' less their spread", (found["mse"], both))
    alone = evaluate(config, os.path.join(place, "member-2"), 2)
    member = found["member"][1]
    tap.check(all(alone[key] == member[key] for key in ("mse", "l0", "dead", "checksum", "step"))
              and abs(alone["ev"] - member["ev"]) < 1e-7,
              "a member's own figures are those of its own evaluation, the mse bit for bit", (alone, member))


def check_boosting(config, place, found):
    evs = found["ev_at_k"]["ev"]
    tap.check(evs == sorted(evs) and evs[-1] == found["ev"], "each stage explains more", evs)
    alone = evaluate(config, os.path.join(place, "stage-1"), 1)
    tap.check(alone["ev"] == evs[0], "the first stage is that model alone, bit for bit", (alone["ev"], evs[0]))


def one_member(config, directory, bagging):
    """An ensemble of one, by either method, is its member."""
    found = []
    for method, name in (("bagging", "member-1"), ("boosting", "stage-1")):
        place = os.path.join(directory, f"one-{method}")
        shutil.copytree(os.path.join(bagging, "member-1"), os.path.join(place, name))
        ensembles.write_file(place, method, [os.path.join(place, name)])
        found.append(evaluate(config, place, 2))
    alone = evaluate(config, os.path.join(bagging, "member-1"), 1)
    tap.check(all(f[key] == alone[key] for f in found for key in ("ev", "mse", "l0", "ev_dimmean", "density")),
              "an ensemble of one is its member, bit for bit", (found, alone))


def crowded(config, directory, bagging):
    """A threshold of early steps, when k was large: it lets through more than the buffers of a small k hold."""
    place = os.path.join(directory, "crowded")
    shutil.copytree(bagging, place)
    runs = [os.path.join(place, f"member-{j}") for j in (1, 2)]
    shutil.rmtree(runs[1])
    ensembles.train(directory, runs[1], **{**COMMON, **THRESHOLD, "model__latents": 1600, "train__k_start": 1500,
                                           "train__k_steps": 40, "train__threshold__decay": 0.9999})
    ensembles.write_file(place, "bagging", runs)
    found = [evaluate(config, place, ranks, "eval.rows=all", "eval.batch=1024") for ranks in (1, 3)]
    tap.check(found[0] == found[1] and found[0]["member"][1]["l0"] > 520, "more values than there is room for at once",
              found)


def refusals(directory, config, bagging, boosting):
    os.chdir(directory)
    place = os.path.relpath(bagging)
    with open(os.path.join(bagging, "ensemble.json"), encoding="utf-8") as file:
        good = json.load(file)

    def refuse(name, line, method="bagging", **member):
        broken = json.loads(json.dumps({**good, "method": method}))
        broken["member"][1].update(member)
        with open(os.path.join("broken", "ensemble.json"), "w", encoding="utf-8") as file:
            json.dump(broken, file)
        refusal.check(name, ["eval", config, "-s", "eval.model=broken"], line)

    shutil.copytree(place, "broken")
    refuse("a member that is not complete", "broken: member-2 is not complete: run `hpsae train` to the end, or name "
           "broken/member-2 to use it alone", complete=False, checksum=None)
    found = good["member"][1]["checksum"]
    refuse("a member that is another", "broken: broken/member-2/checkpoint-000000000040.h5 is not the model that "
           f"ensemble.json names: its values have the checksum {found}, not 0123456789abcdef; train the ensemble anew, "
           "or restore the member", checksum="0123456789abcdef")
    with open(os.path.join("broken", "ensemble.json"), "w", encoding="utf-8") as file:
        json.dump({**good, "d": 46}, file)
    refusal.check("another d", ["eval", config, "-s", "eval.model=broken"],
                  "broken: member-1 has d 45, the ensemble 46")
    shutil.rmtree("broken")
    shutil.copytree(os.path.relpath(boosting), "broken")
    shutil.rmtree("broken/stage-2")
    shutil.copytree(os.path.join(place, "member-2"), "broken/stage-2")
    ensembles.write_file("broken", "boosting", [f"broken/stage-{j}" for j in (1, 2, 3)])
    refusal.check("a stage that scales", ["eval", config, "-s", "eval.model=broken"],
                  "broken: stage-2 scales its input, which is a residual in the first stage's units; it was not "
                  "trained as a stage of this chain")
    shutil.rmtree("broken/stage-2")
    refusal.check("a stage that is gone", ["eval", config, "-s", "eval.model=broken"],
                  "broken/stage-2: no checkpoint there, though broken/ensemble.json calls it complete; restore it")
    os.chdir("/")


with program.Directory() as path:
    trained.make_store(path, ROWS, D)
    bag, bag_of = ensembles.bagging(path, COMMON, MEMBERS)
    boost, boost_of = ensembles.boosting(path, COMMON, MEMBERS)
    settings = trained.write_config(path, output=os.path.join(path, "out"), **COMMON, train__aux__dead_tokens=DEAD,
                                    eval__max_cos=False, eval__shrinkage_rows=0)
    check_bagging(settings, bag, check_ensemble(settings, path, bag, bag_of))
    check_boosting(settings, boost, check_ensemble(settings, path, boost, boost_of))
    one_member(settings, path, bag)
    crowded(settings, path, bag)
    settings = trained.write_config(path, output=os.path.join(path, "out"), **COMMON, train__aux__dead_tokens=DEAD)
    refusals(path, settings, bag, boost)
tap.done()
