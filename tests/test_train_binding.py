#!/usr/bin/python3
# seconds: 300
"""Ranks that are bound badly are warned of in one line with the launcher's options that mend it; nothing is said when all is
well; without OMP_NUM_THREADS a rank takes its share of the processors that it may use.  On two processors of the machine."""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import tap
import trained

CPUS = sorted(os.sched_getaffinity(0))[:2]
ONE, BOTH = str(CPUS[0]), ",".join(str(cpu) for cpu in CPUS)
MPIRUN = os.environ.get("MPIRUN", "mpirun").split()


def start(config, launcher, threads, mask=BOTH, **more):
    """What a dry run says on stdout and on stderr: two processors for the launcher, `mask` for the ranks."""
    environment = {**os.environ, **program.ENVIRONMENT, **more}
    environment.pop("OMP_NUM_THREADS", None)
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = ["taskset", "-c", BOTH, "timeout", "120", *launcher, "taskset", "-c", mask, program.PROGRAM, "train", config,
               "--dry-run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def check(name, outcome, threads, words):
    """words None: no warning."""
    status, out, err = outcome
    warnings = [line for line in err.splitlines() if "binding" in line]
    said = not warnings if words is None else len(warnings) == 1 and words in warnings[0]
    tap.check(status == 0 and said and f" of {threads} threads" in out, name, (status, out, err))


with program.Directory() as path:
    trained.make_store(path, 400, 45)
    settings = trained.write_config(path, train__sample=200)
    ranks = {n: [*MPIRUN, "-n", str(n)] for n in (1, 2, 3)}
    if len(CPUS) == 2:
        check("one rank takes both", start(settings, [], None), 2, None)
        check("one rank of two threads", start(settings, ranks[1], 2), 2, None)
        check("two ranks share", start(settings, ranks[2], None), 1, None)
        check("three ranks have one thread each", start(settings, ranks[3], None), 1, "start at most 2 ranks")
        check("two threads on one core", start(settings, ranks[1], 2, ONE), 2,
              "1 rank with 2 threads in all may use only 1 of the 2 cores: start with mpirun --map-by ppr:1:node:pe=2 "
              "--bind-to core")
        check("two ranks pinned to one core", start(settings, ranks[2], None, ONE), 1,
              "2 ranks with 2 threads in all may use only 1 of the 2 cores: start with mpirun --map-by ppr:2:node:pe=1")
        check("too many threads", start(settings, ranks[2], 2), 2, "4 threads in all have 2 cores: set OMP_NUM_THREADS=1")
        check("one of two cores idle", start(settings, ranks[1], None, ONE), 1, "leaves cores idle")
        check("the same when asked for", start(settings, ranks[1], 1, ONE), 1, None)
        check("one core alone", start(settings, [], None, ONE), 1, None)
        check("threads that OpenMP binds", start(settings, [], None, OMP_PROC_BIND="true"), 2, None)
        chosen = trained.write_config(path, train__sample=200, train__groups="auto")
        for name, threads, why in (("the cores", None, "the cores that a rank may use"), ("the user", 2, "OMP_NUM_THREADS")):
            status, out, err = start(chosen, ranks[1], threads)
            tap.check(status == 0 and f"2 threads a rank, by {why}" in out, f"who chose the threads is said: {name}", out + err)
        check("places", start(settings, [], None, OMP_PROC_BIND="close", OMP_PLACES="cores"), 2, None)
    else:
        tap.check(True, "one processor: nothing can be bound badly # SKIP")
tap.done()
