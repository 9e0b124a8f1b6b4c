#!/usr/bin/python3
"""Trains what Gadgil, Lin and Lee (arXiv:2505.16077) compare, at a small scale, and writes a page on what agrees.

    ensemble_study.py [--data STORE] [--test STORE] [--out DIRECTORY] [--members 1,2,4,8] [--seeds 1,2,3] [--steps N] ...

For each seed: a bagging and a boosted chain of the most members, of which each smaller number is a part, and one SAE as
large as J members, of J times their k, for each J; all on the same tokens.  All are evaluated on rows never trained on;
`hpsae compare` tells stability between the seeds, diversity and connectivity.  The directory gets REPORT.md, table.json
and ensemble.png.  What is complete is not done again, so the same command goes on after an interruption or --minutes.
"""
import argparse
import collections
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import run_files  # first: it tells which package is missing

import numpy as np

import plot_ensemble
import reproduce
import stopping

STOPPED = stopping.STOPPED
METHODS = ("bagging", "boosting", "single")
NAMES = {"bagging": "bagging", "boosting": "boosting", "single": "one SAE"}
# What the paper reports at J = 8 for Pythia-160M (d 768, n 16128, TopK 128, 800 M tokens): ev, stability.
PUBLISHED = {"single": (0.987, 0.204), "bagging": (0.929, 0.731), "boosting": (0.998, 0.680)}
FIGURES = ("ev", "fvu", "l0", "stability", "connectivity", "diversity", "dead")
AGREES, DIFFERS, UNKNOWN = "agrees", "**does not agree**", "not measured"

Claim = collections.namedtuple("Claim", "title published here verdict")


def mean(values):
    return float(np.mean(values))


# ---- training ----------------------------------------------------------------------------------------------------

def configuration(store, rows, options):
    """What all trainings share."""
    config = reproduce.configuration(store, options.out, rows, argparse.Namespace(
        steps=options.steps, latents=options.latents, k=options.k, ks=[options.k]))
    if options.batch:
        tokens = options.steps * options.batch
        config["train"].update({"batch": options.batch, "tokens": tokens})
        config["train"]["aux"]["dead_tokens"] = max(1, tokens // 4)
    config["eval"] = {"max_cos": False, "shrinkage_rows": 0}
    return config


def write_configuration(options, config):
    """Its path; settings that differ from those in the directory are refused."""
    path, text = os.path.join(options.out, "study.yaml"), json.dumps(config, indent=2) + "\n"  # JSON is YAML
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if file.read() != text:
                raise run_files.Unusable(f"{path}: of other data or settings; remove {options.out}, or name another "
                                         "directory with --out")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def trainings(options):
    """[(method, J, seed, directory, keys)]: ensembles of the most members, then dictionaries as large as each J."""
    most, found = max(options.members), []
    for seed in options.seeds:
        for method in ("bagging", "boosting"):
            found.append((method, most, seed, place(options, method, most, seed),
                          {"ensemble.method": method, "ensemble.members": most}))
        for size in (size for size in options.members if size > 1):
            found.append(("single", size, seed, place(options, "single", size, seed),
                          {"model.latents": size * options.latents,
                           "model.k": options.k * (1 if options.same_k else size)}))
    return found


def place(options, method, size, seed):
    """Where it is; one member of a bagging is the plain dictionary."""
    if method == "single" and size == 1:
        return os.path.join(place(options, "bagging", max(options.members), seed), "member-1")
    return os.path.join(options.out, f"{method}-{size}", f"seed-{seed}")


def part_of(options, method, size, seed):
    """The directory of an ensemble's first members, an ensemble itself: links to them, and their part of ensemble.json."""
    whole, part = (place(options, method, each, seed) for each in (max(options.members), size))
    if whole == part:
        return part
    about = run_files.read_json(os.path.join(whole, "ensemble.json"))
    about["members"], about["member"] = size, about["member"][:size]
    os.makedirs(part, exist_ok=True)
    for name in (member["directory"] for member in about["member"]):
        link = os.path.join(part, name)
        if not os.path.islink(link):
            os.symlink(os.path.relpath(os.path.join(whole, name), part), link)
    with open(os.path.join(part, "ensemble.json"), "w", encoding="utf-8") as file:
        json.dump(about, file, indent=2)
    return part


def is_complete(run):
    return reproduce.is_complete(run)


def train_all(program, config, options):
    """Trains what is missing; False when the time was over before all was done."""
    started, work = time.monotonic(), trainings(options)
    todo = [item for item in work if not is_complete(item[3])]
    for number, (method, size, seed, run, keys) in enumerate(todo, 1):
        minutes = (time.monotonic() - started) / 60
        if options.minutes and minutes >= options.minutes:
            print(f"[{minutes:5.1f} min] {len(todo) - number + 1} trainings are left; the same command goes on")
            return False
        program("train", config, {"output": run, "train.seed": seed, **keys})
        print(f"[{(time.monotonic() - started) / 60:5.1f} min] {NAMES[method]} {size}, seed {seed}: trained; {number} of "
              f"{len(todo)}", flush=True)
    return True


# ---- evaluating --------------------------------------------------------------------------------------------------

def ready(options):
    """[(method, J, [directory of each seed that is trained])]."""
    most, found = max(options.members), []
    for method in METHODS:
        for size in options.members:
            trained = most if method != "single" else size
            seeds = [s for s in options.seeds if is_complete(place(options, method, trained, s))]
            runs = [place(options, method, size, s) if method == "single" else part_of(options, method, size, s)
                    for s in seeds]
            found.append((method, size, runs))
    return found


# What to judge on: a store of its own, all rows, or None: those held out; how many rows, outliers left out of it.
Judged = collections.namedtuple("Judged", "store rows outliers")


def choose_judged(options, store, rows, config):
    """Outliers carry much of the variance: without them, as reproduce.py judges."""
    first = 0 if options.test else rows - run_files.read_json(config)["data"]["holdout"]
    plain, looked, outliers = reproduce.without_outliers(options.test or store, first, os.path.join(options.out, "plain.h5"))
    return Judged(plain or options.test, looked - outliers, outliers)


def evaluate(program, config, judged, run):
    if not os.path.exists(os.path.join(run, "eval.json")):
        own = {"eval.store": judged.store, "eval.rows": "all"} if judged.store else {}
        program("eval", config, {"output": run, **own})


def knows_compare(program):
    """Whether this build of the program has the command."""
    said = subprocess.run([program.binary, "--help"], env=program.environment, capture_output=True, text=True, check=False)
    return "\n  compare " in said.stdout


def compare(program, config, options, judged, method, size, runs):
    """compare.json of the seeds of one method and size, in the method's directory."""
    output = os.path.join(options.out, f"{method}-{size}")
    if len(runs) < 2 or os.path.exists(os.path.join(output, "compare.json")):
        return
    own = {"compare.store": judged.store, "compare.rows": "all"} if judged.store else {}
    program("compare", config, {"output": output, "compare.dictionaries": "[" + ", ".join(runs) + "]",
                                "compare.tokens": min(options.tokens, judged.rows), "compare.hungarian": 0, **own})


# ---- the page ----------------------------------------------------------------------------------------------------

def row_of(options, method, size, runs):
    """The figures of one method and size, lists over seeds; None: not measured."""
    evaluations = [run_files.read_json(os.path.join(run, "eval.json")) for run in runs]
    compared = run_files.read_json(os.path.join(options.out, f"{method}-{size}", "compare.json"))
    row = {"method": method, "members": size, "seeds": len(runs)}
    row.update({key: evaluations[0][key] if evaluations else None for key in ("latents", "k")})
    for key in ("ev", "fvu", "l0", "dead", "mse", "members_mse"):
        row[key] = [e.get(key) for e in evaluations]
    for key in ("stability", "connectivity", "connectivity_alive", "diversity"):
        row[key] = [d.get(key) for d in compared["dictionaries"]] if compared else []
    row["stability_floor"] = compared["stability_floor"] if compared else None
    return row


def spread(values, digits):
    """Mean, and half of the range over seeds."""
    known = [v for v in values if run_files.is_number(v)]
    if not known:
        return "-"
    half = (max(known) - min(known)) / 2
    return f"{mean(known):.{digits}f}" + (f" ± {half:.{digits}f}" if len(known) > 1 else "")


def table(rows):
    lines = ["| | J | latents | " + " | ".join(FIGURES) + " | stability of random rows |",
             "|---|---|---|" + "---|" * len(FIGURES) + "---|"]
    digits = {"ev": 4, "fvu": 4, "l0": 1, "stability": 3, "connectivity": 4, "diversity": 0, "dead": 3}
    for row in (row for row in rows if row["seeds"]):
        floor = f"{row['stability_floor']:.3f}" if row["stability_floor"] is not None else "-"
        lines.append(f"| {NAMES[row['method']]} | {row['members']} | {row['latents']} | "
                     + " | ".join(spread(row[key], digits[key]) for key in FIGURES) + f" | {floor} |")
    return lines


def values(rows, method, figure):
    """{J: mean over seeds} of one figure."""
    found = {}
    for row in (row for row in rows if row["method"] == method):
        known = [v for v in row[figure] if run_files.is_number(v)]
        if known:
            found[row["members"]] = mean(known)
    return found


def listed(curve, digits=4):
    return ", ".join(f"{value:.{digits}f} (J {size})" for size, value in sorted(curve.items()))


def judge_rise(rows, method):
    curve = values(rows, method, "ev")
    title, published = f"ev of {method} rises with J", "direction only; no figure at hand"
    if len(curve) < 2:
        return Claim(title, published, "", UNKNOWN)
    rising = [curve[size] for size in sorted(curve)]
    return Claim(title, published, listed(curve), AGREES if rising == sorted(rising) else DIFFERS)


def judge_identity(rows):
    title = "mse of a bagging is never above its members' mean"
    published = "Prop. 3.1 and the variance identity"
    pairs = [(mse, alone) for row in rows if row["method"] == "bagging" and row["members"] > 1
             for mse, alone in zip(row["mse"], row["members_mse"]) if alone is not None]
    if not pairs:
        return Claim(title, published, "", UNKNOWN)
    ratio = max(mse / alone for mse, alone in pairs)
    return Claim(title, published, f"at most {ratio:.3f} of it, in {len(pairs)} ensembles", AGREES if ratio <= 1 else DIFFERS)


def judge_order(rows, figure, order, which, digits):
    """That a figure at the largest J stands in this order, largest first."""
    at = {method: values(rows, method, figure) for method in order}
    title = f"{figure} at the largest J: " + " above ".join(NAMES[method] for method in order)
    published = ", ".join(f"{NAMES[method]} {PUBLISHED[method][which]:.3f}" for method in order)
    common = set.intersection(*(set(curve) for curve in at.values()))
    if not common or max(common) < 2:
        return Claim(title, published, "", UNKNOWN)
    here = [at[method][max(common)] for method in order]
    words = ", ".join(f"{NAMES[method]} {value:.{digits}f}" for method, value in zip(order, here))
    return Claim(title, published, f"J {max(common)}: {words}", AGREES if here == sorted(here, reverse=True) else DIFFERS)


def claims(rows):
    return [judge_rise(rows, "bagging"), judge_rise(rows, "boosting"), judge_identity(rows),
            judge_order(rows, "ev", ("boosting", "single", "bagging"), 0, 4),
            judge_order(rows, "stability", ("bagging", "boosting", "single"), 1, 3)]


def report(options, config, judged, rows, complete, compared):
    about = run_files.read_json(config)
    size, width = about["train"], "the members' k" if options.same_k else "J times the members' k"
    page = ["# Ensembles of sparse autoencoders", "",
            f"Members of {options.latents} latents, k {options.k}; one SAE of J times as many, with {width}. "
            f"{size['tokens']} tokens each, {size['batch']} a step, seeds {', '.join(map(str, options.seeds))}; "
            f"data {options.data}, judged on {judged.rows} rows of {options.test or 'it that are held out'}, "
            f"{judged.outliers} outliers left out. Means over seeds ± half their range."]
    if not complete:
        page += ["", "Not all is trained yet: the same command goes on."]
    if not compared:
        page += ["", "This build of hpsae has no `compare`: stability, connectivity and diversity are not measured."]
    page += ["", *table(rows), "", "![ev, fvu and stability against J](ensemble.png)", "",
             "## Do the paper's directions hold?", "",
             "Published figures are of Pythia-160M at J = 8: d 768, n 16128, k 128, 800 M tokens; directions alone can be "
             "compared.", "", "| claim | published | here | |", "|---|---|---|---|"]
    page += [f"| {c.title} | {c.published} | {c.here} | {c.verdict} |" for c in claims(rows)]
    path = os.path.join(options.out, "REPORT.md")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(page) + "\n")
    return path


def draw(options, work):
    files = [os.path.join(run, "eval.json") for _, _, runs in work for run in runs]
    files += [path for path in (os.path.join(options.out, f"{method}-{size}", "compare.json") for method, size, _ in work)
              if os.path.exists(path)]
    if files:
        plot_ensemble.draw(plot_ensemble.collect(*plot_ensemble.read_inputs(files)), os.path.join(options.out, "ensemble.png"))


def conclude(program, config, options, judged, complete):
    """Evaluates, compares and writes the page of what is trained."""
    work = ready(options)
    for _, _, runs in work:
        for run in runs:
            evaluate(program, config, judged, run)
    compared = knows_compare(program)
    for method, size, runs in work if compared and complete else ():
        compare(program, config, options, judged, method, size, runs)
    rows = [row_of(options, *item) for item in work]
    with open(os.path.join(options.out, "table.json"), "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=2)
    draw(options, work)
    return report(options, config, judged, rows, complete, compared)


def read_options(arguments):
    parser = argparse.ArgumentParser(prog="ensemble_study.py", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", default=os.path.join(reproduce.ROOT, "data", "smollm2-sample.h5"), help="store to train on")
    parser.add_argument("--test", help="store to judge on; else rows of --data that are held out")
    parser.add_argument("--out", default=os.path.join("runs", "ensemble-study"), help="directory to write to")
    parser.add_argument("--members", type=reproduce.numbers, default=[1, 2, 4, 8], help="the J to judge")
    parser.add_argument("--seeds", type=reproduce.numbers, default=[1, 2, 3])
    parser.add_argument("--latents", type=int, default=1024, help="of a member")
    parser.add_argument("--k", type=int, default=16, help="of a member")
    parser.add_argument("--same-k", action="store_true", help="the one SAE has the k of a member, not J times that")
    parser.add_argument("--steps", type=int, default=500, help="of each training, fewer if 12 passes over the rows are")
    parser.add_argument("--batch", type=int, default=0, help="tokens a step; 0: what suits the store")
    parser.add_argument("--tokens", type=int, default=2048, help="of connectivity, the same for all")
    parser.add_argument("--minutes", type=float, default=0, help="begin no training later than this; 0: no limit")
    options = parser.parse_args(arguments)
    options.members = sorted(set(options.members))
    if options.members[0] < 1 or len(set(options.seeds)) < len(options.seeds):
        raise run_files.Unusable("--members must be 1 or more, and --seeds differ")
    return options


def body(arguments):
    options = read_options(arguments)
    stopping.listen()
    os.makedirs(options.out, exist_ok=True)
    program = reproduce.Program(options.out)
    store = reproduce.shuffled(program, options.data, os.path.join(options.out, "store.h5"))
    rows, _ = reproduce.activations.count_rows(store)
    config = write_configuration(options, configuration(store, rows, options))
    judged = choose_judged(options, store, rows, config)
    complete = train_all(program, config, options)
    print(f"wrote {conclude(program, config, options, judged, complete)}")
    if not complete:
        sys.exit(STOPPED)


if __name__ == "__main__":
    run_files.main(body)
