#!/usr/bin/python3
# seconds: 600
"""A training job under Slurm that meets its time limit, is requeued, cancelled, submitted again on fewer hosts and loses a
host ends with the bits of a run on one rank that nobody disturbed; a second job in its directory is refused in one line."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster
import program
import tap
import trained

STEPS = 1500


def same_bits(straight, run, name):
    for key in ("state_checksum", "checksum", "step", "status"):
        tap.check(trained.run_facts(straight).get(key) == trained.run_facts(run).get(key), f"{name}: the same {key}",
                  (trained.run_facts(straight), trained.run_facts(run)))
    tap.check(trained.exact_lines(straight) == trained.exact_lines(run), f"{name}: the same lines of metrics.jsonl")


def reach(slurm, job, run, step):
    """Until the run has logged so many steps."""
    reached = cluster.wait_for(lambda: cluster.last_step(run) >= step or slurm.job(job)["JobState"] in cluster.ENDED)
    tap.check(reached and slurm.job(job)["JobState"] == "RUNNING", f"job {job} trains", cluster.log_of(run, job))
    return cluster.last_step(run)


with cluster.Cluster() as slurm, program.Directory() as path:
    trained.make_store(path, 1500, 61)
    settings = trained.write_config(path, train__tokens=150 * STEPS, train__eval_steps=100, model__latents=700,
                                    train__checkpoint__every_steps=40)
    straight, whole, run = (os.path.join(path, name) for name in ("straight", "whole", "run"))
    status, out, err = program.run(1, "train", settings, "-s", f"output={straight}")
    tap.check(status == 0, "a straight run on one rank", out + err)

    job = slurm.sbatch("jobs/train.sbatch", settings, run)
    before = reach(slurm, job, run, 60)

    # A second job there, while the first runs; it is on hosts of its own, or waits for none: the CPUs suffice.
    second = slurm.sbatch("jobs/train.sbatch", settings, run, hosts=2)
    facts = slurm.wait(second, *cluster.ENDED)
    text = cluster.log_of(run, second)
    errors = [line for line in text.splitlines() if "error" in line.lower() and "hpsae" in line]
    tap.check(facts["JobState"] == "FAILED" and facts["ExitCode"] == "2:0", "a second job in one directory: status 2",
              f"{facts}\n{text}")
    tap.check(len(errors) == 1 and f"in use by job {job}, process " in errors[0] and " on h" in errors[0] and
              "since 20" in errors[0], "one line that names the first job, its process, host and since when", text)
    tap.check(f"in use by job {job}" in facts["Comment"], "which Slurm tells too", facts)
    tap.check(slurm.job(job)["JobState"] == "RUNNING", "the first goes on", cluster.log_of(run, job))

    # The time limit: what --signal=B:USR1@120 sends two minutes before it.
    slurm.command("scancel", "--batch", "--signal=USR1", job)
    facts = slurm.wait(job, "PENDING", *cluster.ENDED)
    tap.check(facts["JobState"] == "PENDING" and facts["Restarts"] == "1", "USR1: the job is back in the queue",
              f"{facts}\n{cluster.log_of(run, job)}")
    tap.check(trained.run_facts(run)["status"] == "stopped", "USR1: with a checkpoint", cluster.log_of(run, job))
    tap.check(not os.path.exists(os.path.join(run, "lock")), "USR1: the lock is given back")
    before = cluster.last_step(run)
    slurm.run_again(job)
    reach(slurm, job, run, before + 30)
    text = cluster.log_of(run, job)
    tap.check("goes on from" in text and "run 2" in text, "it goes on from the checkpoint, in the same log", text)

    slurm.command("scancel", job)
    facts = slurm.wait(job, *cluster.ENDED)
    cluster.wait_for(lambda: not os.path.exists(os.path.join(run, "lock")))
    tap.check(facts["JobState"] == "CANCELLED" and trained.run_facts(run)["status"] == "stopped",
              "scancel: the job ends with a checkpoint and stays out of the queue", f"{facts}\n{cluster.log_of(run, job)}")

    # On three of the four hosts, one of which loses power.
    before = cluster.last_step(run)
    job = slurm.sbatch("jobs/train.sbatch", settings, run, hosts=3)
    reach(slurm, job, run, before + 60)
    lost = slurm.job(job)["BatchHost"]
    slurm.sandbox("kill", lost)
    slurm.command("scontrol", "update", f"NodeName={lost}", "State=DOWN", "Reason=power")
    tap.check(os.path.exists(os.path.join(run, "lock")), "a host is lost, and what held the lock with it")
    slurm.run_again(job)
    facts = slurm.wait(job, *cluster.ENDED)
    text = cluster.log_of(run, job)
    tap.check(facts["JobState"] == "COMPLETED" and facts["Restarts"] == "1" and lost not in facts["BatchHost"],
              "the job ends on other hosts", f"{facts}\n{text}")
    tap.check("taken over from process" in text, "having taken the lock over", text)
    same_bits(straight, run, "disturbed five times")

    job = slurm.sbatch("jobs/train.sbatch", settings, whole, "-s", "train.tokens=15000", hosts=3, HPSAE_LAUNCH="mpirun")
    facts = slurm.wait(job, *cluster.ENDED)
    tap.check(facts["JobState"] == "COMPLETED" and trained.exact_lines(whole)[:50] == trained.exact_lines(straight)[:50],
              "mpirun in place of srun: the same bits", cluster.log_of(whole, job))
tap.done()
