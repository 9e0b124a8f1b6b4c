#!/usr/bin/python3
# seconds: 600
# alone: it kills at moments of the clock
"""Ensembles whose training is killed and resumed on other numbers of ranks end with the bits of straight runs.

A boosted chain takes kills with SIGKILL while a stage trains, while residuals are written and right after a stage was
complete, in turn of the whole job and of one rank; a bag takes them at random.  A complete stage is never run again.  A
stop file and SIGUSR1 end a chain, the latter in the midst of the residuals too.
"""
import json
import os
import random
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import kills
import program
import tap
import trained

RANKS = (3, 1, 2)
CHAIN = ["ensemble.method=boosting", "ensemble.members=6"]
BAG = ["ensemble.method=bagging", "ensemble.members=3", "train.tokens=210000"]  # long enough for three kills
SEED = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(10**6)))


def words(output, settings):
    return [word for setting in (f"output={output}", *settings) for word in ("-s", setting)]


def start(output, settings, ranks, scratch):
    return kills.start(ranks, scratch, "train", "config.yaml", *words(output, settings))


def described(output):
    try:
        with open(f"{output}/ensemble.json", encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {"member": []}


def complete(output):
    return [member["directory"] for member in described(output)["member"] if member["complete"]]


def unfinished(output):
    return [name for name in os.listdir(output) if name.startswith("residuals-") and name.endswith(".tmp")] if os.path.isdir(output) else []


def written(output):
    """Changes with what is unfinished in a directory."""
    return [(name, os.stat(f"{output}/{name}").st_mtime_ns) for name in unfinished(output)]


def wait_until(job, condition):
    while job.poll() is None and not condition():
        time.sleep(0.002)


def wait_for(moment, job, output):
    """Until the job is where it shall be killed."""
    if moment == "training":
        time.sleep(random.uniform(0.5, 1.0))
    elif moment == "residuals":
        before = written(output)
        wait_until(job, lambda: written(output) not in (before, []))
        time.sleep(random.uniform(0, 0.15))
    else:
        before = len(complete(output))
        wait_until(job, lambda: len(complete(output)) > before)


def started(output):
    """When each complete member was begun last."""
    return {name: trained.run_facts(f"{output}/{name}")["started"] for name in complete(output)}


def disturb(output, settings, moments, scratch):
    """The moments at which a running job was hit; what was complete once must not be begun again."""
    hit, begun = [], {}
    for attempt, moment in enumerate(moments):
        job = start(output, settings, RANKS[attempt % len(RANKS)], scratch)
        wait_for(moment, job, output)
        where = f"{len(complete(output))} complete, unfinished: {unfinished(output)}"
        if not kills.kill(job, whole=attempt % 2 == 0)[0]:
            break
        hit.append("residuals" if unfinished(output) else moment)
        tap.note(f"kill in {moment}: {where}")
        again = [name for name, when in started(output).items() if begun.get(name, when) != when]
        tap.check(not again, f"kill {attempt + 1}: no complete member was run again", again)
        begun = started(output)
    return hit


def check_same(name, straight, disturbed, settings, ranks=2, lines=True):
    """The run goes on to its end, which is that of the straight one; a stop adds a line of its own."""
    status, out, err = program.run(ranks, "train", "config.yaml", *words(disturbed, settings))
    tap.check(status == 0, f"{name}: the disturbed run ends", out + err)
    a, b = described(straight), described(disturbed)
    tap.check(a["member"] == b["member"], f"{name}: the same ensemble.json", f"{a}\n{b}")
    for member in (m["directory"] for m in a["member"]):
        one, other = (trained.run_facts(f"{output}/{member}") for output in (straight, disturbed))
        same = all(one[key] == other[key] for key in ("state_checksum", "checksum", "step"))
        same = same and (not lines or trained.exact_lines(f"{straight}/{member}") ==
                         trained.exact_lines(f"{disturbed}/{member}"))
        tap.check(same, f"{name}: {member} has the same bits{' and lines' if lines else ''}")
    left = [os.path.join(base, file) for base, directories, files in os.walk(disturbed) for file in files + directories]
    tap.check(not [file for file in left if ".tmp" in file], f"{name}: nothing unfinished is left", left)


def check_chain(scratch):
    status, out, err = program.run(2, "train", "config.yaml", *words("straight", CHAIN))
    tap.check(status == 0, "the straight chain ends", out + err)
    moments = ["training", "training", "residuals", "training", "between", "residuals", "residuals", "training", "residuals",
               "between", "residuals", "residuals"]
    hit = disturb("chain", CHAIN, moments, scratch)
    tap.check(len(hit) >= 10 and hit.count("residuals") >= 3, f"kills hit a running job: {hit}")
    check_same("chain", "straight", "chain", CHAIN)
    with open("straight/residuals-6/residuals-00000.h5", "rb") as a, open("chain/residuals-6/residuals-00000.h5", "rb") as b:
        tap.check(a.read() == b.read(), "chain: the same residuals")
    tap.check(sorted(name for name in os.listdir("chain") if "residuals" in name) == ["residuals-6"],
              "chain: older residuals are gone")


def check_bag(scratch):
    status, out, err = program.run(1, "train", "config.yaml", *words("straight bag", BAG))
    tap.check(status == 0, "the straight bag ends", out + err)
    hit = disturb("bag", BAG, ["training"] * 3, scratch)
    tap.check(len(hit) >= 2, f"kills hit a running bag: {hit}")
    check_same("bag", "straight bag", "bag", BAG, ranks=3)


def check_stopped(scratch):
    job = start("stopped", CHAIN, 2, scratch)
    wait_until(job, lambda: unfinished("stopped"))
    for pid in program.children(job.pid):
        os.kill(pid, signal.SIGUSR1)
    out, _ = job.communicate(timeout=60)
    tap.check(job.returncode == 75 and "a signal asked for it" in out, "SIGUSR1 ends a chain with status 75", out)
    tap.check(trained.run_facts("stopped")["status"] == "stopped", "its run.json says so")
    with open("stopped/stop", "w", encoding="utf-8"):
        pass
    status, out, err = program.run(3, "train", "config.yaml", *words("stopped", CHAIN))
    tap.check(status == 75 and not os.path.exists("stopped/stop"), "a stop file does, and is gone", out + err)
    status, out, err = program.run(1, "train", "config.yaml", *words("stopped", [*CHAIN, "train.max_minutes=0.001"]))
    tap.check(status == 75 and "max_minutes has passed" in out, "so does train.max_minutes", out + err)
    job = start("stopped bag", BAG, 3, scratch)
    wait_until(job, lambda: os.path.exists("stopped bag/member-3/metrics.jsonl"))
    os.kill(random.choice(program.children(job.pid)), signal.SIGTERM)
    out, _ = job.communicate(timeout=60)
    members = [trained.run_facts(f"stopped bag/member-{j}") for j in (1, 2, 3)]
    tap.check(job.returncode == 75 and all(m["status"] == "stopped" for m in members),
              "a signal to one rank of one group ends all groups of a bag", f"{job.returncode} {members}\n{out}")
    check_same("stopped chain", "straight", "stopped", CHAIN, lines=False)
    check_same("stopped bag", "straight bag", "stopped bag", BAG, lines=False)


random.seed(SEED)
tap.note(f"TEST_SEED={SEED}")
with program.Directory() as path:
    os.chdir(path)
    trained.make_store(path, 60000, 61)
    trained.write_config(path, train__tokens=100 * 700, train__batch=700, train__eval_steps=50, train__log_steps=25,
                         train__checkpoint__every_steps=10, model__latents=700)
    check_chain(path)
    check_bag(path)
    check_stopped(path)
    os.chdir("/")
tap.done()
