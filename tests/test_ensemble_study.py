#!/usr/bin/python3
# seconds: 600
"""ensemble_study.py trains, evaluates and judges bagging, boosting and larger dictionaries of two seeds, small enough for
a test: the members of a smaller J are the first ones of the largest, what is complete is not done again, an interrupted
study says what is missing, and other settings in the same directory are refused.
"""
import json
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ANALYSIS = os.path.join(HERE, "..", "analysis")
sys.path[:0] = [os.path.join(HERE, "oracle"), ANALYSIS]
import program
import tap
import trained

ROWS, D, OUTLIERS = 1500, 24, 5
SIZES = ["--members", "1,2,3", "--latents", "48", "--k", "3", "--steps", "40", "--tokens", "100"]
CLAIMS = ("ev of bagging rises", "ev of boosting rises", "never above", "ev at the largest J")


def study(store, out, *options):
    """(exit status, what it said on stdout and stderr)."""
    command = [sys.executable, os.path.join(ANALYSIS, "ensemble_study.py"), "--data", store, "--out", out, *SIZES, *options]
    environment = {**os.environ, "HPSAE": program.PROGRAM, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False,
                          timeout=250 * program.SLOWER)
    return done.returncode, done.stdout, done.stderr


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def evaluation(*path):
    return json.loads(read(*path, "eval.json"))


def check_page(out):
    page, rows = read(out, "REPORT.md"), json.loads(read(out, "table.json"))
    tap.check([(r["method"], r["members"], r["seeds"]) for r in rows]
              == [(m, j, 2) for m in ("bagging", "boosting", "single") for j in (1, 2, 3)], "all is in the table", rows)
    for name, j in ((name, j) for name in ("bagging", "boosting", "one SAE") for j in (1, 2, 3)):
        tap.check(re.search(rf"^\| {name} \| {j} \| {48 * j} \| 0\.\d+ ± ", page, re.M), f"{name} {j} is on the page", page)
    for claim in CLAIMS:
        judged = [line for line in page.splitlines()
                  if claim in line and re.search(r"\| (agrees|\*\*does not agree\*\*) \|$", line)]
        tap.check(len(judged) == 1, f"judged: {claim}", page)
    tap.check(f"{OUTLIERS} outliers left out" in page and "Not all is trained" not in page, "what it was made from", page)
    tap.check(os.path.getsize(os.path.join(out, "ensemble.png")) > 10000, "the picture is drawn")
    _, usage, _ = program.run(1, "--help")
    known = "\n  compare " in usage
    measured = all(len(r["stability"]) == 2 and 0 < min(r["stability"]) <= 1 and 0 <= min(r["connectivity"]) <= 1 for r in rows)
    tap.check(measured if known else "has no `compare`" in page, "stability and connectivity are told where they can be", page)


def check_parts(out):
    for method, name in (("bagging", "member"), ("boosting", "stage")):
        whole = evaluation(out, f"{method}-3", "seed-2")
        for j in (1, 2):
            part = evaluation(out, f"{method}-{j}", "seed-2")
            tap.check(part["members"] == j and part["ev"] == whole["ev_at_k"]["ev"][j - 1]
                      and [m["checksum"] for m in part["member"]] == [m["checksum"] for m in whole["member"][:j]],
                      f"{method} {j} is a part of {method} 3", (part["ev"], whole["ev_at_k"]))
    one, wide = (evaluation(out, *where) for where in (("bagging-3", "seed-1", "member-1"), ("single-3", "seed-1")))
    tap.check((one["latents"], one["k"], wide["latents"], wide["k"]) == (48, 3, 144, 9), "one SAE is as large as J members")
    tap.check(one["rows"] == ROWS // 10 - OUTLIERS, "outliers are left out", one["rows"])


with program.Directory() as directory:
    store, out = os.path.join(directory, "store.h5"), os.path.join(directory, "out")
    rows = trained.planted_rows(ROWS, D)
    rows[-2 * OUTLIERS::2] *= 100
    program.write_store(store, rows)

    status, said, err = study(store, out, "--seeds", "1", "--minutes", "1e-9")
    tap.check(status == 75 and "4 trainings are left" in said, "time over: status 75", said + err)
    tap.check("Not all is trained" in read(out, "REPORT.md"), "the page says so")
    status, said, err = study(store, out, "--seeds", "1,2")
    if tap.check(status == 0, "all is trained and judged", said + err):
        check_page(out)
        check_parts(out)
    before = read(out, "log.txt")
    status, said, err = study(store, out, "--seeds", "1,2")
    tap.check(status == 0 and read(out, "log.txt") == before, "what is complete is not done again", said + err)
    status, _, err = study(store, out, "--seeds", "1", "--steps", "41")
    tap.check(status == 2 and "of other data" in err and err.count("\n") == 1, "other settings: one line", err)
    status, _, err = study(os.path.join(directory, "absent.h5"), os.path.join(directory, "o"), "--seeds", "1")
    tap.check(status == 2 and "absent.h5" in err and err.count("\n") == 1, "no store: one line", err)
tap.done()
