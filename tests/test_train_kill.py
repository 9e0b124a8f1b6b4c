#!/usr/bin/python3
# seconds: 900
# alone: it kills at moments of the clock
"""A run that is killed at random moments and resumed on other numbers of ranks ends with the bits of a straight run.

Twelve kills with SIGKILL, in turn of the whole job and of one rank, each after a random part of a run; then the run is
left to end.  Its state and every line of metrics.jsonl must be those of the run that nobody disturbed.
"""
import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import kills
import program
import tap
import trained

KILLS, RANKS = 12, (3, 1, 2, 4)
SEED = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(10**6)))


def last_step(run):
    names = [name for name in os.listdir(run) if name.endswith(".h5")] if os.path.isdir(run) else []
    return max((int(name[11:-3]) for name in names), default=0)


random.seed(SEED)
tap.note(f"TEST_SEED={SEED}")
with program.Directory() as path:
    trained.make_store(path, 1500, 61)
    settings = trained.write_config(path, train__tokens=450 * 1500, train__eval_steps=100, train__log_steps=25,
                                    train__checkpoint__every_steps=20, model__latents=700, train__resume="auto")
    straight, disturbed = os.path.join(path, "straight"), os.path.join(path, "run")
    status, out, err = program.run(2, "train", settings, "-s", f"output={straight}", threads=1)
    tap.check(status == 0, "the straight run ends", out + err)

    killed = attempts = 0
    while killed < KILLS and attempts < 60:
        job = kills.start(RANKS[attempts % len(RANKS)], path, "train", settings)
        time.sleep(random.uniform(0.3, 1.2))
        running, text = kills.kill(job, whole=attempts % 2 == 0)
        attempts += 1
        if not running:
            break
        killed += 1
        tap.note(f"kill {killed}: checkpoint of step {last_step(disturbed)} stands")
    tap.check(killed >= 10, f"at least ten kills ({killed}) hit a running job", f"{attempts} attempts\n{text}")
    status, out, err = program.run(3, "train", settings, threads=1)
    tap.check(status == 0, "the disturbed run ends", out + err)
    for key in ("state_checksum", "checksum", "step"):
        tap.check(trained.run_facts(straight)[key] == trained.run_facts(disturbed)[key], f"the same {key}")
    tap.check(trained.exact_lines(straight) == trained.exact_lines(disturbed), "the same lines of metrics.jsonl")
    left = sorted(name for name in os.listdir(disturbed) if ".tmp" in name or name.endswith(".h5"))
    tap.check(len(left) == 2 and not any(".tmp" in name for name in left), "two checkpoints and no .tmp are left", left)
tap.done()
