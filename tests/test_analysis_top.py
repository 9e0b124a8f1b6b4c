#!/usr/bin/python3
"""top.py tells of runs, ensembles and sweeps how far they are and what failed, while files are being written; on a
terminal it renews a page until it is interrupted; says in one line what is none of them."""
import json
import os
import pty
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "oracle"))
import program
import tap

SCRIPT = os.path.join(HERE, "..", "analysis", "top.py")


def top(*arguments):
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text if isinstance(text, str) else json.dumps(text))


def write_run(run, status, tokens, ev=None, torn=""):
    """A run of 100,000 tokens at 1,000 a second that has logged up to `tokens`."""
    write(os.path.join(run, "run.json"), {"status": status, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(
        time.time() - 50))})
    write(os.path.join(run, "used.yaml"), "train:\n    tokens: 100000\n")
    lines = [{"step": 1, "tokens": tokens // 2, "heldout_ev": ev, "tokens_per_s": 10.0},
             {"step": 2, "tokens": tokens, "tokens_per_s": 1000.0}]
    write(os.path.join(run, "metrics.jsonl"), "".join(json.dumps(each) + "\n" for each in lines) + torn)
    return run


def check_runs(directory):
    running = write_run(os.path.join(directory, "a"), "running", 40000, 0.75, torn='{"step": 3, "tokens": 99')
    complete = write_run(os.path.join(directory, "b"), "complete", 100000, 0.9)
    failed = write_run(os.path.join(directory, "c"), "failed: the disk is full", 10000)
    status, said, err = top(running, complete, failed)
    tap.check(status == 0 and said.splitlines()[0] == "a: running, 40 %, ev 0.7500, 1,000 tokens/s, 1 min 00 s left",
              "a run that logs at this moment", said + err)
    tap.check(said.splitlines()[1] == "b: complete, 100 %, ev 0.9000", "one that is complete", said)
    tap.check(said.splitlines()[2] == "c: failed: the disk is full, 10 %", "one that failed, and why", said)
    for name in ("metrics.jsonl", "run.json"):
        os.utime(os.path.join(running, name), (0, time.time() - 7200))
    tap.check("silent for 2 h 00 min" in top(running)[1], "one that has long said nothing", top(running)[1])


def check_ensemble(directory):
    ensemble = os.path.join(directory, "bag")
    write(os.path.join(ensemble, "ensemble.json"), {"method": "bagging", "members": 4, "member": [
        {"directory": "member-1", "complete": True}, {"directory": "member-2", "complete": False}]})
    write(os.path.join(ensemble, "run.json"), {"status": "running", "started": "2026-01-01T00:00:00Z"})
    write_run(os.path.join(ensemble, "member-1"), "complete", 100000, 0.8)
    write_run(os.path.join(ensemble, "member-2"), "running", 50000, 0.6)
    said = top(ensemble)[1]
    tap.check(said.startswith("bag: running, 1 of 4 members, 38 %, ev 0.7000, 1,000 tokens/s, "), "an ensemble", said)


def check_sweep(directory):
    sweep = os.path.join(directory, "s")
    states = ("complete", "waiting", "waiting", "failed")  # p1 was begun since this was written
    write(os.path.join(sweep, "sweep.json"), {"format": "hpsae-sweep", "points": [
        {"name": f"p{i}", "set": {"model.latents": 1000}, "status": state, "reason": "it diverged" if i == 3 else None}
        for i, state in enumerate(states)]})
    write_run(os.path.join(sweep, "points", "p1"), "running", 50000, 0.5)
    write(os.path.join(sweep, "points", "p0", "run.json"), {"status": "complete", "seconds": 100.0})
    status, said, err = top(sweep)
    tap.check(status == 0 and said.startswith("s: 1 complete, 1 running, 1 waiting, 1 failed, 62 %, 1,000 tokens/s, "),
              "a sweep: how many points", said + err)
    tap.check(" 2 min 3" in said.split("; ", 1)[0] or " 2 min 4" in said.split("; ", 1)[0],
              "and how long the others take: half of one and one more, at 150 s for one and a half, and a little later", said)
    tap.check("; p1: running, 50 %, ev 0.5000" in said and said.endswith("; p3: failed: it diverged\n"),
              "what runs and what failed", said)
    tap.check(said.count("\n") == 1, "in one line", said)
    write(os.path.join(sweep, "sweep.json"), '{"points": [')
    status, said, err = top(sweep)
    tap.check(status == 0 and "sweep.json is no JSON" in said, "a torn sweep.json is told", said + err)


def check_terminal(directory):
    """Under a pseudo terminal: two pages, then Ctrl-C."""
    master, slave = pty.openpty()
    child = subprocess.Popen([sys.executable, SCRIPT, "--every", "0.2", os.path.join(directory, "a")], stdout=slave,
                             stderr=slave, env={**os.environ, "COLUMNS": "120", "LINES": "40"})
    os.close(slave)
    seen, until = b"", time.monotonic() + 60 * program.SLOWER
    while seen.count(b"\033[H") < 3 and time.monotonic() < until:
        seen += os.read(master, 4096)
    child.send_signal(signal.SIGINT)
    status = child.wait(timeout=60)
    os.close(master)
    tap.check(status == 0 and seen.count(b"\033[H") >= 2 and b"########............  40 %" in seen,
              "a page again and again until Ctrl-C", (status, seen))


with program.Directory() as scratch:
    check_runs(scratch)
    check_ensemble(scratch)
    check_sweep(scratch)
    check_terminal(scratch)
    for arguments, wanted in (([os.path.join(scratch, "none")], "no run, ensemble or sweep"), ([], "required: DIR"),
                              ([scratch, "--every", "0"], "--every must be")):
        code, _, error = top(*arguments)
        tap.check(code == 2 and wanted in error and error.count("\n") == 1, f"{wanted}: one line, status 2", error)
tap.done()
