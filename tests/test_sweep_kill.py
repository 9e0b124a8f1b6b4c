#!/usr/bin/python3
# seconds: 900
# alone: it kills at moments of the clock
"""A sweep whose job, or one of whose ranks, is killed at random moments and which is started again on other numbers of ranks
ends with the table of a sweep that nobody disturbed: no point is lost, none is there twice, none that is complete is run again;
while kills go on, results.h5 and results.csv are whole at any moment."""
import glob
import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import kills
import program
import sweeps
import tap
import trained

KILLS, RANKS = 12, (3, 1, 2, 4)
SEED = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(10**6)))


def complete(output):
    """{point: when its directory was last written to} of those that are complete."""
    paths = glob.glob(os.path.join(output, "points", "*", "point.json"))
    found = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            if '"status": "complete"' in file.read():
                found[os.path.dirname(path)] = max(os.stat(p).st_mtime_ns for p in glob.glob(os.path.dirname(path) + "/*.json*"))
    return found


def wait_for(job, output, count):
    """Until so many points are complete, or the job has ended."""
    deadline = time.time() + 60
    while len(complete(output)) < count and job.poll() is None and time.time() < deadline:
        time.sleep(0.02)


random.seed(SEED)
tap.note(f"TEST_SEED={SEED}")
with program.Directory() as path:
    trained.make_store(path, 1500, 61)
    settings = sweeps.write_config(path, {"axes": {"model.latents": [160, 331, 700], "model.k": [3, 7], "train.seed": [1, 2, 3, 4, 5, 6]}},
                                   train__tokens=150 * 300, train__eval_steps=0, train__log_steps=25,
                                   train__checkpoint__every_steps=20)
    straight, disturbed = os.path.join(path, "straight"), os.path.join(path, "run")
    status, out, err = program.run(2, "sweep", settings, "-s", f"output={straight}", threads=1)
    tap.check(status == 0, "the straight sweep ends", out + err)

    killed = attempts = 0
    again, torn = [], []
    while killed < KILLS and attempts < 60:
        before = complete(disturbed)
        job = kills.start(RANKS[attempts % len(RANKS)], path, "sweep", settings, "-s",
                          f"sweep.together={random.choice((1, 1, 3))}")
        wait_for(job, disturbed, len(before) + random.choice((0, 0, 1)))
        time.sleep(random.uniform(0.2, 0.7))
        running, text = kills.kill(job, whole=attempts % 2 == 0)
        attempts += 1
        after = complete(disturbed)
        again += [name for name, stamp in before.items() if after.get(name) != stamp]
        if os.path.exists(os.path.join(disturbed, "results.h5")):
            try:
                table = sweeps.rows_of_h5(disturbed)
                torn += [] if all(row["checksum"] for row in table.values()) else [table]
                sweeps.rows(disturbed)
            except Exception as error:  # whatever a torn file makes of the readers
                torn.append(error)
        if not running:
            break
        killed += 1
        tap.note(f"kill {killed}: {len(after)} points are complete")
    tap.check(killed >= 10, f"at least ten kills ({killed}) hit a running job", f"{attempts} attempts\n{text}")
    tap.check(not again, "no complete point was run again", again)
    tap.check(not torn, "the tables were whole after every kill", torn)
    status, out, err = program.run(3, "sweep", settings, threads=1)
    tap.check(status == 0, "the disturbed sweep ends", out + err)
    tap.check(len(sweeps.rows(straight)) == 36 and sweeps.exact_rows(disturbed) == sweeps.exact_rows(straight),
              "it has the rows of the straight one, each once", f"{sweeps.rows(disturbed)}\n{sweeps.rows(straight)}")
    tap.check(list(sweeps.rows_of_h5(disturbed)) == list(sweeps.rows(straight)), "in results.h5 too")
    bad = [name for name in sweeps.rows(straight) if trained.exact_lines(os.path.join(disturbed, "points", name)) !=
           trained.exact_lines(os.path.join(straight, "points", name))]
    tap.check(not bad, "every point has the metrics.jsonl of the straight one", bad)
    left = glob.glob(os.path.join(disturbed, "**", "*.tmp*"), recursive=True)
    tap.check(not left, "no .tmp is left", left)
    many = [name for name in sweeps.rows(straight) if len(glob.glob(os.path.join(disturbed, "points", name, "*.h5"))) != 2]
    tap.check(not many, "every point has its two checkpoints", many)
tap.done()
