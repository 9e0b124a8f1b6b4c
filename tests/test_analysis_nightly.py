#!/usr/bin/python3
"""nightly.py: the first night has nothing to compare with; a figure worse than on the last good night by more than the
seeds' spread fails the job and is named; one that is better does not; the page needs nothing from elsewhere; a night that
was interrupted goes on; a small sweep is trained, fitted and told of from one end to the other.
"""
# seconds: 900
import csv
import html.parser
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ANALYSIS = os.path.join(HERE, "..", "analysis")
sys.path[:0] = [os.path.join(HERE, "oracle"), ANALYSIS]
import nightly
import nightly_metrics as nm
import program
import tap
import trained

SEEDS = (-0.002, 0.0, 0.002)


def metric(*values, better="higher", spread=None, name="ev"):
    return nm.Metric("sweep", name, list(values), better, spread)


def check_comparing():
    """Verdicts of one figure."""
    cases = (
        ("within the spread", metric(.70, .72), metric(.69, .71), nm.SAME),
        ("worse than the spread", metric(.70, .72), metric(.66, .68), nm.WORSE),
        ("the larger of the two spreads counts", metric(.70, .72), metric(.64, .70), nm.SAME),
        ("better", metric(.70, .72), metric(.75, .76), nm.BETTER),
        ("lower is better, and it is higher", metric(1., 1.1, better="lower"), metric(2., 2.1, better="lower"), nm.WORSE),
        ("neither is better", metric(1., 1.1, better=None), metric(2., 2.1, better=None), nm.MOVED),
        ("one more failed point", metric(0, better="lower", spread=0.), metric(1, better="lower", spread=0.), nm.WORSE),
        ("one seed is no spread", metric(.7), metric(.6), nm.UNJUDGED),
        ("the same bits", metric(.7), metric(.7), nm.SAME),
        ("no longer measured", metric(.7, .7), None, nm.MISSING),
        ("no longer measured: no values", metric(.7, .7), metric(), nm.MISSING),
        ("an exponent no longer identified", metric(.7, better=None, spread=.1), None, nm.MOVED),
        ("measured for the first time", None, metric(.7, .7), nm.NEW))
    for label, before, now, wanted in cases:
        verdict = nm.change(before, now).verdict
        tap.check(verdict == wanted, f"{label}: {wanted}", verdict)
    changes = nm.compare([metric(.7, .71), metric(.5, name="gone")], [metric(.6, .61), metric(.4, name="new")])
    tap.check([c.verdict for c in changes] == [nm.WORSE, nm.NEW, nm.MISSING] and len(nm.regressions(changes)) == 2,
              "of two nights", changes)


# ---- nights with faked results ----------------------------------------------------------------------------------

class Page(html.parser.HTMLParser):
    """What a page refers to, and whether each element that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.open, self.wrong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag == "script":
            self.wrong.append(tag)
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")


def write_json(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)


def write_sweep(night, shift, failed=False):
    """Results of two sizes and three seeds, whose ev is moved by `shift`."""
    rows = [[f"n{n}_s{s}", "complete", n, 8, "topk", "plain", 1 - (0.5 + n / 1e5 + by + shift), f"{n}{s}"]
            for n in (512, 1024) for s, by in enumerate(SEEDS)]
    if failed:
        rows[-1][1], rows[-1][6] = "failed", ""
    os.makedirs(os.path.join(night, "sweep"))
    with open(os.path.join(night, "sweep", "results.csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["point", "status", "latents", "k", "select", "objective", "fvu", "checksum", "d", "tokens"])
        writer.writerows([*row, 24, 1000] for row in rows)
    write_json(os.path.join(night, "sweep", "sweep.json"), {"points": [
        {"name": row[0], "status": row[1], "reason": "out of <memory>" if row[1] == "failed" else None} for row in rows]})
    write_json(os.path.join(night, "sweep", "scaling.json"), {"laws": [
        {"law": "joint", "formula": "L(n, k)", "k": None, "warnings": ["zeta not identified"], "held_out": None, "parameters": {
            "bn": {"value": -0.02 + shift / 10, "low": -0.03, "high": -0.01, "identified": True}}}]})


def write_others(night, shift):
    for seed, by in enumerate(SEEDS, 1):
        run = os.path.join(night, "objectives", "topk-8", f"seed-{seed}")
        write_json(os.path.join(run, "eval.json"), {"ev": 0.1, "max_cos": 0.3 + by})
        write_json(os.path.join(run, "plain", "eval.json"), {"ev": 0.7 + by + shift, "max_cos": None})
    with open(os.path.join(night, "objectives", "REPORT.md"), "w", encoding="utf-8") as file:
        file.write("# Title\n\n| claim | here | verdict |\n|---|---|---|\n| a < b | 1 | **does not agree** |\n")
    write_json(os.path.join(night, "ensembles", "table.json"), [
        {"method": "boosting", "members": 2, "ev": [0.8 + by + shift for by in SEEDS], "stability": [0.5, None, 0.6]}])


def call(*arguments, binary=program.PROGRAM):
    """(exit status, stdout, stderr) of nightly.py."""
    environment = {**os.environ, "HPSAE": binary, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, os.path.join(ANALYSIS, "nightly.py"), *arguments], env=environment, text=True,
                          capture_output=True, timeout=800 * program.SLOWER, check=False)
    return done.returncode, done.stdout, done.stderr


def fake(arguments, name, shift, failed=False):
    """A night all of whose parts are done, with results moved by `shift`; what nightly.py makes of it."""
    options = nightly.read_options([*arguments, "--night", name])
    version = nightly.version_of(nightly.reproduce.Program(options.out))
    night, about = nightly.begin(options, nightly.settings_of(options), version)
    write_sweep(night, shift, failed)
    write_others(night, shift)
    about["seconds"] = {part: 60.0 for part in nightly.PARTS}
    write_json(os.path.join(night, "night.json"), about)
    return call(*arguments, "--night", name)


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def check_nights(directory):
    store, config, out = (os.path.join(directory, name) for name in ("store.h5", "c.yaml", "out"))
    program.write_store(store, trained.planted_rows(200, 24))
    write_json(config, {"any": 1})
    arguments = ["--data", store, "--config", config, "--out", out]
    os.makedirs(out)

    status, said, err = fake(arguments, "2026-01-00", 0.0, failed=True)
    tap.check(status == 1 and "points that are not complete: 1; no good night yet" in err
              and not os.path.exists(os.path.join(out, "good.json")), "no night with a failed point is good", said + err)
    status, said, err = fake(arguments, "2026-01-01", 0.0)
    page = read(out, "nights", "2026-01-01", "REPORT.html")
    tap.check(status == 0 and "The first night with these settings" in page, "the first night is good", said + err)
    parsed = Page(page)
    tap.check(not parsed.wrong and not parsed.open and all(s.startswith("data:") for s in parsed.sources),
              "a page on its own: no scripts, nothing from elsewhere, all elements closed", (parsed.wrong, parsed.open))
    tap.check("a &lt; b" in page and "<b>does not agree</b>" in page, "claims of the studies are in it")
    tap.check("0.5051 ± 0.0020" in page and "-0.017 (GPT-4)" in page and "zeta not identified" in page,
              "the sweep, the laws, the paper's figures")
    metrics = {m["name"]: m for m in json.loads(read(out, "good.json"))["metrics"]}
    tap.check(abs(sum(metrics["ev, topk-8"]["values"]) / 3 - 0.7) < 1e-9, "without outliers where there are some", metrics)

    status, said, err = fake(arguments, "2026-01-02", 0.02)
    page = read(out, "nights", "2026-01-02", "REPORT.html")
    tap.check(status == 0 and "▲ better" in page and "No regression" in page, "an improvement is no failure", said + err)
    tap.check("6 of 6 points of the sweep are the same bits" in page and "The nights so far" not in err, "bits", page[:3000])
    tap.check(len([s for s in Page(page).sources if s.startswith("data:image/png")]) == 1, "the nights are drawn")
    tap.check(json.loads(read(out, "good.json"))["night"] == "2026-01-02", "and it is the last good night now")

    status, said, err = fake(arguments, "2026-01-03", 0.0)
    lines = [line for line in err.splitlines() if line.startswith("nightly.py: regression: ")]
    tap.check(status == 1 and any("sweep: ev, n 512, k 8: 0.50512; last good night (2026-01-02): 0.52512, spread 0.004"
                                  in line for line in lines), "a regression fails, and the line says which", said + err)
    tap.check(len(lines) == 4, "each figure that fell: two of the sweep, one objective, one ensemble", err)
    page = read(out, "nights", "2026-01-03", "REPORT.html")
    tap.check("4 regressions" in page and "▼ worse" in page, "and the page")
    tap.check(json.loads(read(out, "good.json"))["night"] == "2026-01-02", "the last good night stays")

    status, _, err = fake(arguments, "2026-01-04", 0.02, failed=True)
    page = read(out, "nights", "2026-01-04", "REPORT.html")
    tap.check(status == 1 and "points that are not complete: 1; last good night (2026-01-02): 0" in err, "a failed point", err)
    tap.check("out of &lt;memory&gt;" in page, "and its reason, in the page")

    write_json(config, {"any": 2})
    status, _, err = fake(arguments, "2026-01-05", -0.3)
    tap.check(status == 0, "other settings: nothing to compare with", err)
    options = nightly.read_options(arguments)
    before = nightly.store_path(options)
    os.utime(store, (0, 0))
    tap.check(nightly.store_path(options) != before, "data written anew are shuffled anew")
    write_json(config, {"any": 3})
    status, _, err = call(*arguments, "--night", "2026-01-05")
    tap.check(status == 2 and "of other data or settings" in err and err.count("\n") == 1, "a night of other settings", err)


def check_choosing(directory):
    """Which night a call goes on with."""
    options = nightly.read_options(["--out", os.path.join(directory, "choose")])
    settings, today = {"a": 1}, nightly.time.strftime("%Y-%m-%d")

    def state(name, status, version="v1", of=None):
        write_json(os.path.join(options.out, "nights", name, "night.json"),
                   {"status": status, "settings": of or settings, "version": version})

    tap.check(nightly.choose_night(options, settings, "v1") == today, "the first night has today's date")
    state(today, "complete")
    tap.check(nightly.choose_night(options, settings, "v1") == today + ".02", "the second of a day has a number")
    state("2026-01-01", "running")
    state("2026-01-02", "running", version="v0")
    state("2026-01-03", "running", of={"a": 2})
    tap.check(nightly.choose_night(options, settings, "v1") == "2026-01-01",
              "an unfinished one of the same program and settings goes on")


def check_errors(directory):
    for label, wanted, arguments in (("no store", "no such store", ["--data", os.path.join(directory, "none.h5")]),
                                     ("an unknown part", "a list of sweep", ["--parts", "sweep,dreams"]),
                                     ("scaling alone", "scaling needs sweep", ["--parts", "scaling"]),
                                     ("no configuration", "absent.yaml: No such file", ["--config", "absent.yaml"])):
        status, _, err = call("--out", os.path.join(directory, "errors"), *arguments)
        tap.check(status == 2 and wanted in err and err.count("\n") == 1, f"{label}: one line, status 2", err)


# ---- one end to the other ---------------------------------------------------------------------------------------

def check_configurations(directory):
    store = os.path.join(directory, "large.h5")
    program.write_store(store, trained.planted_rows(50000, 24))
    for name, points in (("nightly", 90), ("nightly-small", 48)):
        config = os.path.join(HERE, "..", "configs", f"{name}.yaml")
        status, said, err = program.run(1, "sweep", config, "--dry-run", "-s", f"data.store={store}", "-s",
                                        f"output={os.path.join(directory, name)}")
        tap.check(status == 0 and f" {points - 1}  latents" in said, f"configs/{name}.yaml: {points} points", said + err)


def check_whole(directory):
    """A small night with real trainings, stopped by its time and taken up again; then another, of the same bits."""
    if "\n  sweep " not in program.run(1, "--help")[1]:
        return tap.note("this build has no sweep: no night from one end to the other")
    check_configurations(directory)
    store, config, out = (os.path.join(directory, name) for name in ("whole.h5", "whole.yaml", "whole"))
    program.write_store(store, trained.planted_rows(900, 24))
    write_json(config, {
        "output": "unused", "data": {"store": "unused", "holdout": 100}, "train": {
            "tokens": 6000, "batch": 100, "lr": 2e-3, "warmup_steps": 4, "sample": 500, "log_steps": 5, "eval_steps": 5,
            "aux": {"k": 8, "dead_tokens": 2000}, "checkpoint": {"every_minutes": 0, "keep": 1}},
        "eval": {"max_cos": False, "shrinkage_rows": 0},
        "sweep": {"axes": {"model.latents": [32, 64, 128, 256], "model.k": [2, 4], "train.seed": [1, 2]}}})
    arguments = ["--data", store, "--config", config, "--out", out, "--ranks", "2", "--parts", "sweep,objectives,scaling",
                 "--objectives", "--latents 64 --ks 2,4 --k 4 --steps 20 --seeds 1,2"]
    status, said, err = call(*arguments, "--minutes", "1e-7")
    tap.check(status == nightly.STOPPED and "the same command goes on" in said, "the time is over: status 75", said + err)
    status, said, err = call(*arguments, "--minutes", "0.03")
    tap.check(status == nightly.STOPPED and "-- sweep" in said, "and again, in the middle of a part", said + err)
    status, said, err = call(*arguments)
    if not tap.check(status == 0 and len(os.listdir(os.path.join(out, "nights"))) == 1, "the same night goes on", said + err):
        return None
    night = os.path.join(out, "nights", os.listdir(os.path.join(out, "nights"))[0])
    page = read(night, "REPORT.html")
    pictures = [s for s in Page(page).sources if s.startswith("data:image/png;base64,")]
    tap.check(len(pictures) >= 2 and not Page(page).wrong, "pictures of the laws and the objectives are inside", len(pictures))
    laws = {law["law"]: law for law in json.loads(read(night, "sweep", "scaling.json"))["laws"]}
    tap.check(laws["joint"]["points"] == 16 and "parameters" in laws["joint"], "the laws are fitted", laws["joint"])
    ev = {m["name"]: m["values"] for m in json.loads(read(night, "metrics.json"))["metrics"]}
    tap.check(len(ev["ev, n 256, k 4"]) == 2 and ev["ev, n 256, k 4"][0] > ev["ev, n 32, k 2"][0], "more latents explain more",
              ev)
    status, said, err = call(*arguments)
    names = sorted(os.listdir(os.path.join(out, "nights")))
    page = read(out, "nights", names[-1], "REPORT.html")
    return tap.check(status == 0 and len(names) == 2 and "16 of 16 points of the sweep are the same bits" in page,
                     "the next night is the same bits, and good", said + err)


with program.Directory() as scratch:
    check_comparing()
    check_nights(scratch)
    check_choosing(scratch)
    check_errors(scratch)
    check_whole(scratch)
tap.done()
