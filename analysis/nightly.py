#!/usr/bin/python3
"""One night's work and its report: make nightly-small, or nightly.py [--data STORE] [--config SWEEP.yaml] [--out DIR] ...

A sweep over n and k, what papers compare (reproduce.py), ensembles (ensemble_study.py), the scaling laws of the sweep,
and one page, nights/DATE/REPORT.html, that sets them beside the last good night (good.json) and the papers.  A figure worse
than on the last good night by more than the spread over seeds ends the job with status 1 and a line that names it.  A night
that was interrupted, or ended by --minutes or a signal (stopping.py) with status 75, is taken up again by the same command.
"""
import argparse
import hashlib
import os
import shlex
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True

import run_files  # first: it tells which package is missing

import activations
import nightly_metrics
import nightly_report
import reproduce
import stopping
from scaling_laws import Parser, write_json

PARTS = ("sweep", "objectives", "ensembles", "scaling")
SCRIPTS = {"objectives": "reproduce.py", "ensembles": "ensemble_study.py"}
STOPPED = stopping.STOPPED


class Stopped(Exception):
    """The time is over, or an end was asked for."""


# ---- nights -----------------------------------------------------------------------------------------------------

def read_bytes(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as problem:
        raise run_files.Unusable(f"{path}: {problem.strerror}") from problem


def settings_of(options):
    """What two nights must share to be compared."""
    rows, d = activations.count_rows(options.data)
    return {"data": os.path.abspath(options.data), "rows": int(rows), "d": int(d), "parts": list(options.parts),
            "config": hashlib.sha256(read_bytes(options.config)).hexdigest()[:16],
            "objectives": options.objectives, "ensembles": options.ensembles, "gradients": options.gradients}


def version_of(program):
    done = subprocess.run([program.binary, "--version"], capture_output=True, text=True, check=False,
                          env=program.environment)
    if done.returncode != 0:
        raise run_files.Unusable(f"{program.binary} --version: {done.stderr.strip() or 'fails'}")
    return done.stdout.split("\n", maxsplit=1)[0]


def nights(out):
    """[(name, night.json)] of an output directory, oldest first."""
    place = os.path.join(out, "nights")
    names = sorted(os.listdir(place)) if os.path.isdir(place) else []
    found = [(name, run_files.read_json(os.path.join(place, name, "night.json"))) for name in names]
    return [(name, about) for name, about in found if about is not None]


def choose_night(options, settings, version):
    """The name of the night to go on with, or of a new one."""
    known = dict(nights(options.out))
    for name, about in reversed(known.items()):
        if about["status"] != "complete" and about["settings"] == settings and about["version"] == version:
            return name
    today = time.strftime("%Y-%m-%d")
    return next(name for name in [today, *(f"{today}.{i:02d}" for i in range(2, 1000))] if name not in known)


def begin(options, settings, version):
    """(directory, night.json) of the night, which is now under way."""
    name = options.night or choose_night(options, settings, version)
    night = os.path.join(options.out, "nights", name)
    about = run_files.read_json(os.path.join(night, "night.json"))
    if about is not None and about["settings"] != settings:
        raise run_files.Unusable(f"{night}: a night of other data or settings; name another one, or another --out")
    if about is None:
        about = {"name": name, "settings": settings, "version": version, "seconds": {}, "started": time.strftime("%F %T")}
    about["status"] = "running"
    os.makedirs(night, exist_ok=True)
    write_json(os.path.join(night, "night.json"), about)
    return night, about


# ---- the parts --------------------------------------------------------------------------------------------------

def minutes_left(options, started):
    """For a part; 0: no limit.  Raises Stopped when the time is over."""
    if not options.minutes:
        return 0
    left = options.minutes - (time.monotonic() - started) / 60
    if left <= 0:
        raise Stopped
    return left


def run_sweep(program, options, night, store, left):
    """hpsae sweep, one rank a core; asked to stop by its stop file when the time is over."""
    out = os.path.join(night, "sweep")
    stop = os.path.join(out, "stop")
    os.makedirs(out, exist_ok=True)
    if os.path.exists(stop):
        os.remove(stop)
    clock = threading.Timer(60 * left, lambda: open(stop, "w", encoding="utf-8").close()) if left else None
    if clock:
        clock.daemon = True
        clock.start()
    try:
        status = program.status("sweep", options.config, {"output": out, "data.store": store}, ranks=options.ranks)
    finally:
        if clock:
            clock.cancel()
    if status == STOPPED:
        raise Stopped
    points = (run_files.read_json(os.path.join(out, "sweep.json")) or {}).get("points", [])
    if status != 0 and not (points and all(point["status"] in ("complete", "failed") for point in points)):
        raise SystemExit(status if status in (1, 2) else 1)  # of points that failed the report tells


def run_script(name, arguments, left):
    """A script beside this one; raises Stopped, or ends as it does."""
    command = [sys.executable, os.path.join(reproduce.HERE, name), *arguments, *(["--minutes", f"{left:.3f}"] if left else [])]
    status, _ = stopping.run(command)
    if status == STOPPED:
        raise Stopped
    if status != 0:
        print(f"nightly.py: {name} failed, status {status}; the same command goes on", file=sys.stderr)
        raise SystemExit(status if status in (1, 2) else 1)


def run_part(part, program, options, night, store, left):
    if part == "sweep":
        run_sweep(program, options, night, store, left)
    elif part == "scaling":
        run_script("scaling_laws.py", [os.path.join(night, "sweep")], 0)
    else:
        more = shlex.split(getattr(options, part))
        if part == "objectives" and options.gradients:
            more += ["--gradients", options.gradients]
        run_script(SCRIPTS[part], ["--data", store, "--out", os.path.join(night, part), *more], left)


def store_path(options):
    """Where the shuffled copy of the data is: a name for each file, and each time it was written."""
    files = [(os.path.abspath(path), os.path.getsize(path), os.path.getmtime(path))
             for path in activations.store_files([options.data])]
    return os.path.join(options.out, f"store-{hashlib.sha256(repr(files).encode()).hexdigest()[:8]}.h5")


def run_parts(program, options, night, about):
    """All that is not done yet."""
    started = time.monotonic()
    store = reproduce.shuffled(program, options.data, store_path(options))
    for part in options.parts:
        if part in about["seconds"]:
            continue
        left, since = minutes_left(options, started), time.monotonic()
        print(f"-- {part}", flush=True)
        run_part(part, program, options, night, store, left)
        about["seconds"][part] = round(time.monotonic() - since, 1)
        write_json(os.path.join(night, "night.json"), about)


# ---- the verdict ------------------------------------------------------------------------------------------------

def read_good(options, settings):
    """good.json, if it is of the same settings; else None."""
    good = run_files.read_json(os.path.join(options.out, "good.json"))
    return good if good and good["settings"] == settings else None


def conclude(options, night, about):
    """Writes metrics.json and the page; the Changes that are regressions."""
    metrics = nightly_metrics.collect(night, options.parts)
    good = read_good(options, about["settings"])
    changes = nightly_metrics.compare(nightly_metrics.from_json(good["metrics"]) if good else [], metrics)
    bad = nightly_metrics.regressions(changes)
    about.update({"status": "complete", "regressions": len(bad), "ended": time.strftime("%F %T")})
    content = {"night": about["name"], "version": about["version"], "settings": about["settings"],
               "metrics": nightly_metrics.as_json(metrics)}
    write_json(os.path.join(night, "metrics.json"), content)
    path = nightly_report.write(options.out, night, about, good, changes)
    if not bad:
        write_json(os.path.join(options.out, "good.json"), content)
    write_json(os.path.join(night, "night.json"), about)
    print(f"wrote {path}")
    for c in bad:
        print(f"nightly.py: regression: {nightly_metrics.describe(c, good)}", file=sys.stderr)
    return bad


def parts_of(text):
    parts = text.split(",")
    if any(part not in PARTS for part in parts) or ("scaling" in parts and "sweep" not in parts):
        raise argparse.ArgumentTypeError(f"'{text}': a list of {', '.join(PARTS)}; scaling needs sweep")
    return [part for part in PARTS if part in parts]


def read_options(arguments):
    parser = Parser(prog="nightly.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = reproduce.ROOT
    parser.add_argument("--data", default=os.path.join(root, "data", "smollm2-sample.h5"), help="store to train on")
    parser.add_argument("--gradients", default="", help="store with gradients, for g-SAE")
    parser.add_argument("--config", default=os.path.join(root, "configs", "nightly-small.yaml"), help="the sweep's")
    parser.add_argument("--out", default=os.path.join("runs", "nightly"), help="directory of all nights")
    parser.add_argument("--night", help="its name; else an unfinished one of the same program and settings, or the date")
    parser.add_argument("--parts", type=parts_of, default=list(PARTS), help="comma-separated; else all")
    parser.add_argument("--ranks", type=int, default=len(os.sched_getaffinity(0)), help="of the sweep; else the cores")
    parser.add_argument("--minutes", type=float, default=0, help="then stop with status 75; 0: no limit")
    parser.add_argument("--objectives", default="--ks 8,32,128 --latents 1024 --k 32 --steps 120", help="options of reproduce.py")
    parser.add_argument("--ensembles", default="--members 1,2,4 --latents 512 --k 16 --steps 120", help="options of ensemble_study.py")
    options = parser.parse_args(arguments)
    if options.ranks < 1 or options.minutes < 0:
        raise run_files.Unusable("--ranks must be 1 or more, --minutes 0 or more")
    return options


def body(arguments):
    options = read_options(arguments)
    if not os.path.exists(options.data):
        raise run_files.Unusable(f"{options.data}: no such store (--data)")
    settings = settings_of(options)
    stopping.listen()
    os.makedirs(options.out, exist_ok=True)
    program = reproduce.Program(options.out)
    night, about = begin(options, settings, version_of(program))
    try:
        run_parts(program, options, night, about)
    except Stopped:
        print(f"stopped early; the same command goes on with {night}")
        sys.exit(STOPPED)
    if conclude(options, night, about):
        sys.exit(1)


if __name__ == "__main__":
    run_files.main(body)
