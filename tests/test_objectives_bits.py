#!/usr/bin/python3
# seconds: 1500
# alone: it kills at moments that must not be missed
"""Every selection with every objective that goes with it has the same bits on any number of ranks, threads and backend,
and after a kill -9 and a resume on another number of ranks; so it has on two or three data groups, and those bits are
one group's but for rounding.

One rank and one thread, with the reference kernels, give what all must equal: everything that is printed of every step
and the checksum of the final state.  Each pair is also run on another layout, in turn, and once more as a run that is
killed on some ranks when a checkpoint stands, and goes on in yet another layout.  So are its data groups.  n is not divisible by any number of ranks; at d 45 most ranks
own no column.
"""
import os
import signal
import subprocess
import sys
import time

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import tap
import trained

STEPS, BATCH, ROWS = 18, 72, 500
ANNEALED = {"train__k_start": 12, "train__k_steps": 7}
AVERAGED = {"train__ema": 0.9, "train__clip": 0.05}
THRESHOLD = {"train__threshold__start_step": 4, "train__threshold__decay": 0.9}

# selection, objective, d, what else is configured
TABLE = [
    ("topk", "plain", 45, ANNEALED),
    ("topk", "multi_topk", 576, AVERAGED),
    ("topk", "hierarchical", 45, {**ANNEALED, **AVERAGED}),
    ("topk", "hierarchical", 45, {"train__hierarchical__levels": [2, 5]}),
    ("topk", "matryoshka", 576, {}),
    ("topk", "matryoshka", 45, {"train__matryoshka__random": 4, "train__matryoshka__smallest": 3}),
    ("batch_topk", "plain", 576, {**ANNEALED, **THRESHOLD}),
    ("batch_topk", "matryoshka", 45, {**THRESHOLD, **AVERAGED}),
    ("gradient", "plain", 45, ANNEALED),
    ("gradient", "multi_topk", 45, AVERAGED),
    ("gradient", "hierarchical", 576, {}),
    ("gradient", "matryoshka", 45, {"train__matryoshka__random": 3}),
]
LAYOUTS = [(2, 1), (3, 2), (4, 1), (1, 2), (7, 1), (2, 2), (3, 1), (1, 3), (4, 1)]  # ranks, threads; the backends in turn
BACKENDS = program.backends()
LAYOUTS = [(*layout, BACKENDS[-1 - place % len(BACKENDS)]) for place, layout in enumerate(LAYOUTS)]
KILLED_ON = [1, 3, 2, 4]  # ranks before the kill, in turn
# Data groups; ranks of each before the kill; after it ranks of each, threads.
GROUPED = [(2, 1, (3, 1)), (3, 2, (1, 2)), (2, 1, (2, 2)), (3, 1, (2, 1))]
ROUNDING = 1e-5  # of a figure of a step; the whole training rounds once more or less in every sum over a batch


def outcome(run):
    facts = trained.run_facts(run)
    return {"lines": trained.exact_lines(run), "state": facts["state_checksum"], "checksum": facts["checksum"]}


def train(config, run, ranks, threads, backend, *more):
    """All that must be equal; None after a failed run."""
    status, out, err = program.run(ranks, "train", config, "-s", f"output={run}", "-s", f"kernels.backend={backend}",
                                   *more, threads=threads)
    if status != 0:
        tap.note(f"status {status}\n{out}\n{err}")
        return None
    return outcome(run)


def different(first, this):
    if first is None or this is None:
        return ["all"]
    found = [key for key in first if this[key] != first[key]]
    if "lines" in found:
        pairs = zip(first["lines"], this["lines"])
        found.append(next(((a, b) for a, b in pairs if a != b), "their number"))
    return found


def checkpoints(run):
    return sorted(name for name in os.listdir(run) if name.endswith(".h5")) if os.path.isdir(run) else []


def kill_midway(config, run, ranks, *more):
    """Starts the run, and kills all of it once a checkpoint stands: whether it was killed before its end."""
    command = [program.PROGRAM, "train", config, "-s", f"output={run}", "-s", "train.checkpoint.every_steps=1", *more]
    environment = {**os.environ, **program.ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    if ranks > 1:
        command = [*os.environ.get("MPIRUN", "mpirun").split(), "-n", str(ranks), *command]
    job = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           start_new_session=True)
    while job.poll() is None and len(checkpoints(run)) < 2:
        time.sleep(0.002)
    victims = program.children(job.pid)
    for kill, target in [(os.killpg, job.pid), *((os.kill, pid) for pid in victims)]:
        try:
            kill(target, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return job.wait() != 0


def check_killed(name, config, first, before, after, *more):
    """Killed on `before` ranks, resumed in the layout `after`."""
    run = os.path.join(os.path.dirname(config), "killed" + "".join(more))
    killed = any(kill_midway(config, f"{run}-{attempt}", before, *more) for attempt in range(3))
    run = max(path for path in (f"{run}-{attempt}" for attempt in range(3)) if os.path.isdir(path))
    tap.check(killed and checkpoints(run), f"{name}: killed on {before} ranks, with a checkpoint", checkpoints(run))
    ranks, threads, backend = after
    found = different(first, train(config, run, *after, *more))
    tap.check(not found, f"{name}: killed on {before} ranks, resumed on {ranks}, {threads} threads, {backend}: the same bits",
              found)


def apart(ones, others):
    """The figure in which the lines of two runs differ most: (relative difference, name, step)."""
    figures = ("loss", "fvu", "aux_fvu", "l0", "grad_norm", "heldout_ev", "threshold")
    return max((abs(other[key] - one[key]) / max(abs(one[key]), 1e-6), key, one["step"])
               for one, other in zip(ones, others) for key in figures if one.get(key) is not None)


def check_groups(name, config, alone, groups, before, layout):
    path, more = os.path.dirname(config), ("-s", f"train.groups={groups}")
    name = f"{name}: {groups} data groups"
    first = train(config, os.path.join(path, f"groups-{groups}"), groups, 1, "ref", *more)
    if not tap.check(first is not None and len(first["lines"]) == STEPS, f"{name}: train", first):
        return
    worst = apart(alone["lines"], first["lines"])
    tap.check(worst[0] < ROUNDING and first["checksum"] != alone["checksum"], f"{name}: differ from one by rounding", worst)
    check_killed(name, config, first, groups * before, (groups * layout[0], *layout[1:]), *more)


def meant(select, objective, keys, first):
    """The run did what its configuration says: AuxK, a threshold, other losses than that of the whole, k falls."""
    lines = first["lines"]
    return (len(lines) == STEPS and any(line["aux_fvu"] > 0 for line in lines) and
            (select == "batch_topk") == (lines[-1].get("threshold", -1) > 0) and
            (objective == "plain") == all(line["loss"] == line["fvu"] for line in lines) and
            ("train__k_start" in keys) == (lines[0]["l0"] > 1.2 * lines[-1]["l0"]))


def check_pair(number, select, objective, d, keys):
    name = f"{select} with {objective}{', annealed' if 'train__k_start' in keys else ''}, d {d}"
    with program.Directory() as path:
        gradients = np.random.default_rng(3).normal(size=(ROWS, d)) if select == "gradient" else None
        program.write_store(os.path.join(path, "store.h5"), trained.planted_rows(ROWS, d), gradients=gradients)
        config = trained.write_config(path, **{
            "model__select": select, "train__objective": objective, "model__latents": 131, "model__k": 5,
            "train__tokens": STEPS * BATCH, "train__batch": BATCH, "train__eval_steps": 9, "train__sample": 300,
            "train__aux__k": 8, "train__aux__dead_tokens": 140, **keys})
        first = train(config, os.path.join(path, "first"), 1, 1, "ref")
        good = first is not None and meant(select, objective, keys, first)
        if not tap.check(good, f"{name}: trains as meant", first):
            return
        layout, other = (LAYOUTS[(2 * number + place) % len(LAYOUTS)] for place in range(2))
        found = different(first, train(config, os.path.join(path, "straight"), *layout))
        tap.check(not found, f"{name}: {layout[0]} ranks, {layout[1]} threads, {layout[2]}: the same bits", found)
        check_killed(name, config, first, KILLED_ON[number % len(KILLED_ON)], other)
        groups, before, layout = GROUPED[number % len(GROUPED)]
        check_groups(name, config, first, groups, before, (*layout, BACKENDS[-1 - number % len(BACKENDS)]))


def check_flooded():
    """Held-out rows far larger than any trained on, of which nearly all latents pass the threshold."""
    rows = trained.planted_rows(ROWS, 45)
    rows[-100:] *= 20
    with program.Directory() as path:
        program.write_store(os.path.join(path, "store.h5"), rows)
        config = trained.write_config(path, **{
            "model__select": "batch_topk", "model__latents": 700, "model__k": 3, "train__tokens": 6 * BATCH,
            "train__batch": BATCH, "train__eval_steps": 3, "train__sample": 300, "train__threshold__start_step": 0})
        first = train(config, os.path.join(path, "first"), 1, 1, "ref")
        flooded = first is not None and first["lines"][-1]["heldout_l0"] > 50
        tap.check(flooded, "many more latents than k pass the threshold: the run ends all the same", first)
        found = different(first, train(config, os.path.join(path, "other"), 3, 2, "auto"))
        tap.check(not found, "many more latents than k pass the threshold: the same bits", found)


for place, row in enumerate(TABLE):
    check_pair(place, *row)
check_flooded()
tap.done()
