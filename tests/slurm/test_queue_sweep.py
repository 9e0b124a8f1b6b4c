#!/usr/bin/python3
# seconds: 600
"""A sweep of 24 small points in one allocation of four hosts, one of which loses power: after the requeue no point is lost and
none is there twice, and each has the bits of a training of its own."""
import csv
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster
import program
import tap
import trained

status, help_text, _ = program.run(1, "--help")
if " sweep " not in help_text:
    tap.skip_all("this program has no sweeps")

SWEEP = {"model.latents": [128, 160, 192], "model.k": [4, 8], "train.lr": [1e-3, 2e-3], "train.seed": [1, 2]}


def rows(run):
    try:
        with open(os.path.join(run, "results.csv"), encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


with cluster.Cluster() as slurm, program.Directory() as path:
    trained.make_store(path, 1500, 45)
    settings = trained.write_config(path, sweep={"axes": SWEEP}, train__eval_steps=0,
                                    train__tokens=60000, train__log_steps=50)
    run = os.path.join(path, "run")
    job = slurm.sbatch("jobs/sweep.sbatch", settings, run, hosts=3)
    cluster.wait_for(lambda: len(rows(run)) >= 6 or slurm.job(job)["JobState"] in cluster.ENDED)
    tap.check(slurm.job(job)["JobState"] == "RUNNING", "some points are done", cluster.log_of(run, job))
    lost = slurm.job(job)["BatchHost"]
    slurm.sandbox("kill", lost)
    slurm.command("scontrol", "update", f"NodeName={lost}", "State=DOWN", "Reason=power")
    slurm.run_again(job)
    facts = slurm.wait(job, *cluster.ENDED)
    tap.check(facts["JobState"] == "COMPLETED" and facts["Restarts"] == "1", "the job ends on other hosts",
              f"{facts}\n{cluster.log_of(run, job)}")
    names = [row["point"] for row in rows(run)]
    tap.check(len(names) == 24 and len(set(names)) == 24, "24 points, none lost, none twice", names)
    tap.check(all(row["status"] == "complete" for row in rows(run)), "all complete", rows(run))
    for row in rows(run)[::8]:
        alone = os.path.join(path, f"alone {row['point']}")
        keys = [word for key, column in (("model.latents", "latents"), ("model.k", "k"), ("train.lr", "lr"), ("train.seed", "seed"))
                for word in ("-s", f"{key}={row[column]}")]
        status, out, err = program.run(1, "train", settings, *keys, "-s", f"output={alone}")
        tap.check(status == 0 and trained.run_facts(alone)["checksum"] == row["checksum"], f"{row['point']}: as trained alone",
                  out + err)
tap.done()
