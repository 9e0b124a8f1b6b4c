#!/usr/bin/python3
# seconds: 900
# alone: it stops at moments of the clock and looks at memory
"""A stop file, SIGUSR1 and train.max_minutes end a run after a step with a checkpoint and status 75, and the run goes on
from there; a second run in its directory is refused; a finished run has nothing to do; memory stays within what was stated."""
import os
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import tap
import trained

MIB = 2**20


def start(config, ranks):
    environment = {**os.environ, **program.ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(["timeout", "120", "mpirun", "-n", str(ranks), program.PROGRAM, "train", config],
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_steps(run):
    """Until the run has logged a step."""
    path = os.path.join(run, "metrics.jsonl")
    for _ in range(600):
        if os.path.exists(path) and os.path.getsize(path) > 0:
            return
        time.sleep(0.1)


def check_stopped(name, run, status, out, err, why):
    facts = trained.run_facts(run)
    tap.check(status == 75, f"{name}: status 75", f"status {status}\n{out}\n{err}")
    tap.check(why in out and "error" not in err.lower().replace("exit", ""), f"{name}: the log says why", out + err)
    tap.check(facts["status"] == "stopped" and 0 < facts["step"] < STEPS, f"{name}: run.json says stopped", facts)


STEPS = 100000  # never reached: every run of it is stopped
with program.Directory() as path:
    trained.make_store(path, 1500, 61)
    settings = trained.write_config(path, train__tokens=150 * STEPS, train__eval_steps=0)
    output = os.path.join(path, "run")

    job = start(settings, 2)
    wait_for_steps(output)
    status, out, err = program.run(2, "train", settings)
    lines = [line for line in err.splitlines() if line.startswith("hpsae: ")]
    tap.check(status == 2 and len(lines) == 1 and f"{output}/lock: in use by process " in lines[0],
              "a second run in the same directory: status 2, one line", out + err)
    tap.check(trained.run_facts(output)["status"] == "running", "which leaves the first one's files alone",
              trained.run_facts(output))
    with open(os.path.join(output, "stop"), "w", encoding="utf-8"):
        pass
    out, err = job.communicate()
    check_stopped("stop file", output, job.returncode, out, err, "file `stop`")
    tap.check(not os.path.exists(os.path.join(output, "stop")), "stop file: it is gone afterwards")
    reached = trained.run_facts(output)["step"]

    job = start(settings, 3)
    for line in job.stdout:
        if "goes on from" in line:
            break
    time.sleep(2)
    os.kill(program.children(job.pid)[0], signal.SIGUSR1)  # mpirun, which passes it on
    out, err = job.communicate()
    check_stopped("SIGUSR1", output, job.returncode, out, err, "a signal asked for it")
    tap.check(trained.run_facts(output)["step"] > reached, "SIGUSR1: the run had gone on from the first stop")

    status, out, err = program.run(1, "train", settings, "-s", "train.max_minutes=0.02")
    check_stopped("train.max_minutes", output, status, out, err, "train.max_minutes")

with program.Directory() as path:
    trained.make_store(path, 1500, 45)
    settings = trained.write_config(path)
    status, out, err = program.run(2, "train", settings)
    tap.check(status == 0 and trained.run_facts(os.path.join(path, "run"))["status"] == "complete", "a run completes",
              out + err)
    before = trained.exact_lines(os.path.join(path, "run"))
    status, out, err = program.run(1, "train", settings)
    tap.check(status == 0 and "nothing to do" in out and trained.exact_lines(os.path.join(path, "run")) == before,
              "a complete run has nothing to do and keeps its metrics", out + err)
    status, out, err = program.run(2, "train", settings, "--dry-run", "-s", f"output={path}/other")
    tap.check(status == 0 and not os.path.exists(f"{path}/other"), "a dry run writes nothing", out + err)

for ranks, groups in ((1, 1), (3, 1), (4, 2)):
    with program.Directory() as path:
        trained.make_store(path, 4000, 192)
        settings = trained.write_config(path, model__latents=30000, train__tokens=600, train__eval_steps=0,
                                        train__groups=groups)
        status, out, err = program.run(ranks, "train", settings)
        name = f"memory on {ranks} ranks{f', {groups} data groups' if groups > 1 else ''}"
        tap.check(status == 0, f"{name}: the run ends", out + err)
        memory = trained.run_facts(os.path.join(path, "run"))["memory_bytes"]
        state = 3 * 4 * (2 * 30000 * 192 + 30000) / (ranks / groups)
        # MPI and HDF5 take more while they work: from three model ranks on 46 to 53 MiB were seen, MPI-IO's buffers for
        # shared writing; else 6 to 7, and allowance.
        working = (60 if ranks // groups > 2 else 30) * MIB
        stated = 1.25 * state + memory["buffers"] + memory["starting"] + memory["libraries"] + working
        tap.check(memory["state"] <= 1.1 * state + MIB, f"{name}: parameters and moments are divided",
                  memory)
        tap.check(memory["resident_peak"] <= stated, f"{name}: resident within what was stated",
                  f"{memory}, {stated / MIB:.0f} MiB")
tap.done()
