#!/usr/bin/python3
# seconds: 600
"""train.groups: auto on 1, 2, 4 and 6 ranks takes the number of data groups that the costs, worked out here, and the plan
name, with the bits of that number written out; a run that goes on keeps its number on other ranks and says what would be
best there; a calibration that cannot be used is one line, unless the run only goes on."""
import json
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import refusal
import tap
import trained

D, N, K, B = 45, 331, 7, 144
FEATURES = {"io": "step read_bytes widened messages bytes", "encode": "step products scanned rescued candidates streamed",
            "select": "step centred pairs messages bytes slots sorted scored",
            "decode": "step slot_columns slots columns nested_columns nested_slots tokens far_columns nested_far",
            "aux": "latents products rescued slot_columns pairs messages bytes slots",
            "gradient_adam": "step parameters slot_columns slots latents nested_columns clipped averaged summed far_columns nested_far suffixes",
            "comm": "step messages bytes slots group_messages group_bytes"}
TOKEN, BYTE = 1e-6, 4.2e-10  # seconds that a token of a group costs, and a byte that goes from group to group


def calibration(path, backend="portable", **more):
    """A bench file by which a step costs TOKEN a token of a data group and BYTE a byte sent among the groups."""
    costs = {phase: dict.fromkeys(features.split(), 0.0) for phase, features in FEATURES.items()}
    costs["decode"]["tokens"] = TOKEN
    costs["comm"]["group_bytes"] = BYTE
    limits = ("screen_flops", "float32_flops", "memory_bytes", "latency", "allreduce_bytes", "merge_pairs", "read_bytes")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"format": "hpsae bench 1", "host": "elsewhere", "cpu": "c", "backend": backend, "ranks": 4,
                   "ranks_per_node": 4, "threads": 8, "libraries": 1, "limits": dict.fromkeys(limits, 1e9),
                   "coefficients": costs, "measured": [], **more}, file)
    return path


def most(count, ranks):
    """Of count things dealt in blocks of 32, those of the rank that has most."""
    return min(-(-(-(-count // 32)) // ranks) * 32, count)


def seconds(groups, ranks):
    """Of a step: gradients of the rank's decoder columns and encoder rows are summed by an allreduce in float32."""
    P = ranks // groups
    parameters = N * most(D, P) + most(N, P) * D
    return TOKEN * B / groups + BYTE * 2 * (groups - 1) / groups * 4 * parameters


def divisors(ranks):
    return [groups for groups in range(1, ranks + 1) if ranks % groups == 0]


def best(ranks):
    return min(divisors(ranks), key=lambda groups: seconds(groups, ranks))


def train(config, run, ranks, *more):
    status, out, err = program.run(ranks, "train", config, "-s", f"output={run}", *more)
    tap.check(status == 0, f"{os.path.basename(run)}: trains", out + err)
    return out, err


def said(out):
    """The line on the choice."""
    lines = [line for line in out.splitlines() if "train.groups auto" in line]
    return lines[0] if len(lines) == 1 else f"{len(lines)} lines on the choice: {lines}"


def groups_written(run):
    with open(os.path.join(run, "used.yaml"), encoding="utf-8") as file:
        section = re.search(r"^train:\n((?: .*\n)*)", file.read(), re.MULTILINE).group(1)
    return re.findall(r"^    groups: (\S+)$", section, re.MULTILINE)


with program.Directory() as path:
    os.chdir(path)
    trained.make_store(path, 1500, D)
    machine = calibration(os.path.join(path, "machine.json"))
    config = trained.write_config(path, train__batch=B, train__tokens=10 * B, train__groups="auto",
                                  train__calibration=machine, kernels__backend="portable")

    tap.check([best(ranks) for ranks in (1, 2, 4, 6)] == [1, 2, 2, 3], "the costs are such that the choice differs")
    for ranks in (1, 2, 4, 6):
        R = best(ranks)
        out, _ = train(config, f"{path}/auto-{ranks}", ranks)
        first = "1 group of 1 rank " if ranks == 1 else f"1 group of {ranks} ranks "
        words = said(out)
        tap.check(f"{first}{seconds(1, ranks):.3g} s a step" in words and f"chosen: {R};" in words and
                  f"by {machine}, measured on elsewhere with portable:" in words and
                  "1 thread a rank, by OMP_NUM_THREADS" in words, f"{ranks} ranks: the choice is said", out)
        tap.check(all(f", {r} of {ranks // r} {seconds(r, ranks):.3g} s" in words for r in divisors(ranks)[1:]),
                  f"{ranks} ranks: with what it was held against", words)
        tap.check(groups_written(f"{path}/auto-{ranks}") == [str(R)], f"{ranks} ranks: used.yaml has the number")
        noted = trained.run_facts(f"{path}/auto-{ranks}")["groups_auto"]
        tap.check(noted["groups"] == R and not noted["resumed"] and noted["threads_from"] == "OMP_NUM_THREADS" and
                  [(e["groups"], e["ranks"]) for e in noted["expected"]] ==
                  [(r, ranks // r) for r in divisors(ranks)], f"{ranks} ranks: run.json says why", noted)
        train(config, f"{path}/number-{ranks}", ranks, "-s", f"train.groups={R}")
        tap.check(trained.exact_lines(f"{path}/auto-{ranks}") == trained.exact_lines(f"{path}/number-{ranks}"),
                  f"{ranks} ranks: the bits are those of train.groups={R}")
        status, out, err = program.run(1, "plan", config, "--ranks-per-node", ranks, "--threads", 1, "--json", "plan.json")
        with open("plan.json", encoding="utf-8") as file:
            plan = json.load(file)
        tap.check(status == 0 and plan["layout"]["groups"] == R and f"chosen: {R}\n" in out and
                  f"train: {{groups: {R}}}" in out and plan["bench"] == machine and
                  [e["groups"] for e in plan["groups_auto"]] == [e["groups"] for e in noted["expected"]],
                  f"{ranks} ranks: the plan chooses alike, and says what to write", out + err)

    # Assumed figures, and a fixed number: the plan names the same.
    out, _ = train(config, f"{path}/assumed", 4, "-s", "train.calibration=")
    status, plan, err = program.run(1, "plan", config, "--ranks-per-node", 4, "--threads", 1, "-s", "train.calibration=")
    tap.check("by assumed figures: " in said(out) and
              re.search(r"chosen: \d+", plan).group() == re.search(r"chosen: \d+", out).group(),
              "without a calibration assumed figures decide, in the plan as in the run", out + plan + err)
    out, _ = train(config, f"{path}/fixed", 2, "-s", "train.groups=1", "-s", "train.calibration=none.json")
    tap.check("train.groups auto" not in out and "groups_auto" not in trained.run_facts(f"{path}/fixed"),
              "a number is not argued with, nor the calibration read", out)

    # A run that goes on.
    os.mkdir("on")
    open("on/stop", "w", encoding="utf-8").close()
    status, out, err = program.run(6, "train", config, "-s", f"output={path}/on")
    tap.check(status == 75 and "chosen: 3;" in said(out), "a run on 6 ranks is stopped", out + err)
    refusal.check("ranks that the checkpoint's groups do not divide", ["train", config, "-s", f"output={path}/on"],
                  {ranks: f"{program.checkpoint_path(path + '/on', 1)}: trained on 3 data groups, which do not divide the "
                   f"{ranks} ranks; start a multiple of 3 as ranks, or choose another output" for ranks in (1, 2)}, (1, 2))
    open("on/stop", "w", encoding="utf-8").close()
    status, out, err = program.run(3, "train", config, "-s", f"output={path}/on", "-s", "train.calibration=none.json")
    tap.check(status == 75 and "what is best for these ranks is not known: none.json" in err and "chosen" not in out,
              "it goes on without its calibration, which it warns of", out + err)
    calibration(machine, "portable")
    out, _ = train(config, f"{path}/on", 12)
    tap.check(best(12) != 3 and f"best here: {best(12)}, but the checkpoint's 3 stays" in said(out),
              "on 12 ranks another number would be best, and the checkpoint's stays", out)
    tap.check(trained.exact_lines(f"{path}/on") == trained.exact_lines(f"{path}/auto-6") and groups_written("on") == ["3"] and
              trained.run_facts("on")["groups_auto"]["resumed"], "the bits are those of the straight run")

    # Calibrations that cannot be used.
    new = ["train", config, "-s", "output=new", "-s"]
    hint = "name a file that `hpsae bench` wrote"
    refusal.check("a calibration that is not there", [*new, "train.calibration=no.json"],
                  f"no.json:1:1: unable to open no.json: No such file or directory; {hint}")
    with open(machine, encoding="utf-8") as file:
        text = file.read()
    with open("torn.json", "w", encoding="utf-8") as file:
        file.write(text[:len(text) // 2])
    status, out, err = program.run(3, *new, "train.calibration=torn.json")
    tap.check(status == 2 and err.count("hpsae: error: torn.json:1:") == 1 and hint in err and not os.path.exists("new"),
              "a torn calibration, 3 ranks", out + err)
    with open("empty.json", "w", encoding="utf-8"):
        pass
    refusal.check("an empty calibration", [*new, "train.calibration=empty.json"],
                  f"empty.json:1:0: '[' or '{{' expected near end of file; {hint}")
    calibration("other.json", "avx2")
    refusal.check("a calibration of other kernels than named", [*new, "train.calibration=other.json"],
                  "-s train.calibration=other.json: other.json was measured with the kernels avx2, and kernels.backend is "
                  "portable; calibrate with these")
    calibration("future.json", "avx4096")
    refusal.check("a calibration of kernels that do not run here",
                  [*new, "train.calibration=future.json", "-s", "kernels.backend=auto"],
                  "-s train.calibration=future.json: future.json was measured with the kernels avx4096, which this machine "
                  "cannot run; calibrate here")
    status, out, err = program.run(1, "plan", config, "-s", "train.calibration=future.json", "-s", "kernels.backend=auto")
    tap.check(status == 0 and "future.json" in out, "the plan, made elsewhere, takes it", out + err)
    calibration("version.json", format="hpsae bench 0")
    refusal.check("a calibration of another version", [*new, "train.calibration=version.json"],
                  'version.json: not a bench file of this version: "format" is not "hpsae bench 1"; write one with `hpsae bench`')
    refusal.check("no number that will do", ["train", config, "-s", "output=new", "-s", "model.latents=5", "-s", "model.k=2",
                                             "-s", "train.aux.k=2", "-s", "train.batch=7", "-s", "train.calibration="],
                  "train.groups: auto: 6 ranks for 5 latents and batches of 7 tokens: no number of groups gives every rank of "
                  "a group a latent; use fewer ranks", (6,))
    os.chdir("/")
tap.done()
