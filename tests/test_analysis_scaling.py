#!/usr/bin/python3
"""scaling_laws.py finds again the laws from which data with noise were drawn, each coefficient within its interval, and
tests its extrapolation on points held out; names what points cannot identify; says in one line what it cannot read.
"""
# seconds: 600
import csv
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ANALYSIS = os.path.join(HERE, "..", "analysis")
sys.path[:0] = [os.path.join(HERE, "oracle"), ANALYSIS]
import numpy as np
import program
import scaling_fit
import scaling_forms
import scaling_points
import tap

GPT4 = {"A": -0.50, "bk": 0.26, "bn": -0.017, "g": -0.042, "zeta": -1.32, "eta": -0.085}  # Gao et al. 2024, 3
CONVERGENCE = 0.65  # the same, of GPT-4
D, NOISE = 512, 0.004
HEADER = ["point", "status", "latents", "k", "d", "select", "objective", "lr", "seed", "batch", "tokens", "flops", "fvu", "ev"]
NS, KS = (1024, 4096, 16384, 65536, 262144, 1048576), (8, 16, 32, 64, 128, 256)


def loss(n, k):
    """Written out from the paper, independently of the fits."""
    p, n, k = GPT4, np.log(n), np.log(k)
    return np.exp(p["A"] + p["bk"] * k + p["bn"] * n + p["g"] * k * n) + np.exp(p["zeta"] + p["eta"] * k)


def write_log(run, last, converged, tokens):
    """Held-out losses that are within 1 % of their limit from so many tokens on."""
    os.makedirs(run)
    with open(os.path.join(run, "metrics.jsonl"), "w", encoding="utf-8") as file:
        for step, t in enumerate(np.linspace(tokens / 100, tokens, 100), 1):
            value = last * (1 + 0.01 * (converged / t) ** 3) / (1 + 0.01 * (converged / tokens) ** 3)
            file.write(json.dumps({"step": step, "tokens": int(t), "heldout_ev": 1 - value}) + "\n")


def write_sweep(sweep, ns=NS, ks=KS, seeds=(1,), noise=NOISE, logs=False, law=loss):
    os.makedirs(sweep)
    random = np.random.default_rng(11)
    rows = []
    for n, k, seed in ((n, k, seed) for n in ns for k in ks for seed in seeds):
        converged = 2000 * n**CONVERGENCE * np.exp(random.normal(0, 0.02))
        tokens, name = int(20 * converged), f"n{n}-k{k}-{seed}"
        value = law(n, k) * np.exp(random.normal(0, noise))
        rows.append([name, "complete", n, k, D, "topk", "plain", 1e-3, seed, 1024, tokens, tokens * (2 * n * D + 8 * k * D),
                     repr(value), 1 - value])
        if logs:
            write_log(os.path.join(sweep, "points", name), value, converged, tokens)
    write_rows(sweep, [*rows, ["late", "failed", 9, 9, D, "topk", "plain", *[""] * 7]])
    return sweep


def write_rows(sweep, rows, header=tuple(HEADER)):
    with open(os.path.join(sweep, "results.csv"), "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def run(*arguments):
    command = [sys.executable, os.path.join(ANALYSIS, "scaling_laws.py"), "--draws", "100", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200 * program.SLOWER, check=False)
    return done.returncode, done.stdout, done.stderr


def laws_in(sweep):
    with open(os.path.join(sweep, "scaling.json"), encoding="utf-8") as file:
        laws = json.load(file)["laws"]
    return {kind: [law for law in laws if law["law"] == kind] for kind in ("joint", "size", "compute", "convergence")}


def check_coverage():
    """Over many draws of the noise: the intervals hold the truth about as often as they say."""
    n, k = (v.ravel() for v in np.meshgrid(NS, KS))
    names, F, G = scaling_forms.design("joint", {"n": n, "k": k}, ())
    truth, inside, draws = np.array([GPT4[name] for name in names]), 0, 12
    for seed in range(draws):
        y = np.log(loss(n, k)) + np.random.default_rng(seed).normal(0, NOISE, len(n))
        low, high = scaling_fit.interval(scaling_fit.fit(names, F, G, y, draws=100).draws)
        inside += np.sum((low <= truth) & (truth <= high))
    tap.check(0.8 <= inside / (draws * len(names)) <= 1, "95 % intervals over 12 draws of noise hold 80 % or more of the truths",
              inside / (draws * len(names)))


    y[7] += 0.4
    low, high = scaling_fit.interval(scaling_fit.fit(names, F, G, y, draws=100).draws)
    tap.check(np.sum((low <= truth) & (truth <= high)) >= 5, "one point that is far off moves little", (low, high))


def check_full(sweep):
    status, said, err = run(sweep)
    if not tap.check(status == 0, "a sweep over n and k is fitted", said + err):
        return
    laws = laws_in(sweep)
    joint = laws["joint"][0]
    for name, truth in GPT4.items():
        p = joint["parameters"][name]
        tap.check(p["low"] <= truth <= p["high"] and p["identified"], f"{name} is in its interval", p)
    tap.check(not joint["warnings"], "nothing to warn of", joint["warnings"])
    test = joint["held_out"]
    tap.check(test["points"] == len(KS) and {p["n"] for p in test["predicted"]} == {NS[-1]}, "the largest n is held out", test)
    worst = max(abs(p["predicted"] / loss(p["n"], p["k"]) - 1) for p in test["predicted"])
    tap.check(worst < 0.02 and test["max_error"] < 0.03, "and predicted within 2 % of the truth", test)
    tap.check("held out (latents=largest): 6 points, error" in said, "the error is told", said)
    p = laws["convergence"][0]["parameters"]["t"]
    tap.check(p["low"] <= CONVERGENCE <= p["high"] and p["high"] - p["low"] < 0.1, "tokens to convergence grow as drawn", p)
    for law in laws["size"]:
        e = law["parameters"]["e"]
        tap.check(e["low"] <= np.exp(GPT4["zeta"] + GPT4["eta"] * np.log(law["k"])) <= e["high"],
                  f"L(N): the irreducible part at k {law['k']:g}", e)
    tap.check([law["k"] for law in laws["compute"]] == list(KS) and all("parameters" in law for law in laws["compute"]),
              "L(C) at each k", laws["compute"])
    check_picture(os.path.join(sweep, "scaling.png"))
    with open(os.path.join(sweep, "scaling.json"), "rb") as file:
        first = file.read()
    run(sweep)
    with open(os.path.join(sweep, "scaling.json"), "rb") as file:
        tap.check(file.read() == first, "the same again: the bootstrap is seeded")


def check_picture(path):
    import matplotlib.image
    image = matplotlib.image.imread(path)[..., :3]
    coloured = image.max(axis=2) - image.min(axis=2) > 0.3
    seen = [bool(part.sum() > 300) for half in np.array_split(coloured, 2) for part in np.array_split(half, 2, axis=1)]
    tap.check(image.shape[1] >= 1600 and seen == [True] * 4, "four panels with curves, fit for a slide", (image.shape, seen))


def check_unidentified(directory):
    one = write_sweep(os.path.join(directory, "one-k"), ks=(32,))
    status, said, err = run(one)
    tap.check(status == 0 and "bk, g and eta cannot be identified: 2 values of k are needed, the points have 1 (32)" in said,
              "one k alone: which coefficients stay open", said + err)
    tap.check("parameters" not in laws_in(one)["joint"][0] and "parameters" in laws_in(one)["size"][0],
              "L(N) is fitted nevertheless")
    tap.check("36 points do not tell" not in said and "6 of 6 points do not tell when they converged" in said,
              "no logs: convergence is not told", said)

    few = write_sweep(os.path.join(directory, "two-n"), ns=(1024, 2048))
    status, said, _ = run(few)
    tap.check(status == 0 and "zeta and eta cannot be identified: 3 values of n are needed, the points have 2" in said,
              "two n: no irreducible part", said)

    narrow = write_sweep(os.path.join(directory, "narrow"), ns=(1024, 1448, 2048), seeds=(1, 2), noise=0.02)
    status, said, _ = run(narrow)
    warnings = " ".join(laws_in(narrow)["joint"][0]["warnings"])
    tap.check(status == 0 and "zeta" in warnings and "not identified" in warnings, "a narrow range of n with noise: named",
              said)
    tap.check(not laws_in(narrow)["joint"][0]["parameters"]["zeta"]["identified"], "and marked in scaling.json")

    flat = write_sweep(os.path.join(directory, "flat"), ks=(32,), law=lambda n, k: 0.1 * (n / 1024) ** 0.1)
    status, said, _ = run(flat)
    tap.check("the loss does not fall" in said or "not identified" in said, "a loss that rises with n: told", said)


def check_errors(directory, good):
    def refused(label, wanted, *arguments):
        status, _, err = run(*arguments)
        tap.check(status == 2 and wanted in err and err.count("\n") == 1, f"{label}: one line, status 2", err)

    refused("no sweep", "results.csv: No such file", os.path.join(directory, "absent"))
    torn = os.path.join(directory, "torn")
    os.makedirs(torn)
    with open(os.path.join(good, "results.csv"), encoding="utf-8") as file:
        text = file.read()
    for label, content, wanted in (("torn", text[:-30], "fields where the header has"), ("empty", "", ":1: not the header"),
                                   ("header alone", text.splitlines()[0] + "\n", "no complete point"),
                                   ("no number", text.replace("1024", "many"), "latents is 'many', not a number"),
                                   ("two methods", text.replace("topk", "batch_topk", 1), "choose one, such as --where select=")):
        with open(os.path.join(torn, "results.csv"), "w", encoding="utf-8") as file:
            file.write(content)
        refused(label, wanted, torn)
    refused("an unknown column", "has no column nose", good, "--where", "nose=1")
    refused("nothing to hold out", "--hold-out largest: must be", good, "--hold-out", "largest")
    refused("an unknown option", "unrecognized arguments: --held", good, "--held", "x")


def check_parts():
    """The settled tokens and the frontier, by hand."""
    held = [(10, 2.0), (100, 1.2), (1000, 1.0), (1e4, 1.0)]
    found = scaling_points.settled(held, 0.1)
    tap.check(abs(np.log10(found) - 2.5) < 1e-9, "half way from 1.2 to 1.0, half way in the logarithm", found)
    tap.check(scaling_points.settled([(1, 1.0), (2, 1.0)], 0.01) is None, "never outside: not known")
    tap.check(scaling_points.settled([(1, 1.0), (2, 2.0), (3, 1.0)], 0.01) == np.exp(np.interp(-1.01, [-2, -1], np.log([2, 3]))),
              "outside once more: the last time counts")
    points = [scaling_points.Point(name, 1, 1, 1, 1, (), flops, value, [], {})
              for name, flops, value in (("a", 1, 3.0), ("b", 10, 3.5), ("c", 100, 2.0), ("d", 1000, 1.0))]
    tap.check([s[2].name for s in scaling_points.frontier(points)] == ["a", "c", "d"], "dominated points are no frontier")


with program.Directory() as scratch:
    check_parts()
    check_coverage()
    full = write_sweep(os.path.join(scratch, "full"), logs=True)
    check_full(full)
    check_unidentified(scratch)
    check_errors(scratch, full)
tap.done()
