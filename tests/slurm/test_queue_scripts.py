#!/usr/bin/python3
# seconds: 300
"""The other job scripts as a user without root has them, from a copy of hpsae that is read-only and with spaces in every path:
a sweep by the tasks of a job array ends with the table of the points trained alone, a bag with its members' bits, a night that
meets its time limit goes on after the requeue and ends with its report; nothing is written outside the output directories."""
import json
import os
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster
import program
import sweeps
import tap
import trained

NOBODY = 65534
POINTS = 4
NIGHT = ("--parts", "sweep,objectives", "--objectives", "--ks 4 --k 4 --latents 64 --steps 20 --seeds 1")


def everything(top):
    """Every path under top and when it was changed."""
    paths = [os.path.join(folder, name) for folder, inner, files in os.walk(top) for name in files + inner]
    return {path: os.lstat(path).st_mtime_ns for path in paths}


def write_night(place):
    """The sweep of a very short night."""
    path = sweeps.write_config(place, {"axes": {"model.latents": [32, 64], "model.k": [2, 4]}}, train__tokens=6000,
                               train__eval_steps=5, train__log_steps=5)
    os.rename(path, os.path.join(place, "my night.yaml"))


with cluster.Cluster() as slurm:
    place, work = (os.path.join(slurm.path, "a user", name) for name in ("my hpsae", "scratch of mine"))
    home = os.path.join(slurm.path, "a user", "read-only home")
    for path in (place, work, home):
        os.makedirs(path)
    cluster.copy_of_scripts(place)
    shutil.copytree(os.path.join(cluster.ROOT, "analysis"), os.path.join(place, "analysis"),
                    ignore=shutil.ignore_patterns("__pycache__"))
    trained.make_store(place, 1500, 45)
    write_night(place)
    os.rename(sweeps.write_config(place, {"axes": {"model.k": [4, 7], "train.seed": [1, 2]}}), os.path.join(place, "my sweep.yaml"))
    os.chown(work, NOBODY, NOBODY)
    before = everything(place)

    def submit(*words):
        """A user's job on two hosts, or as the words say; its number."""
        return slurm.sbatch(*words, cwd=place, user=NOBODY, hosts=2, HOME=home, HPSAE=None, TMPDIR=None)

    array, night, bag = (os.path.join(work, name) for name in ("an array", "some nights", "a bag"))
    tasks = submit(f"--array=0-{POINTS - 1}", "--nodes=1", "jobs/sweep.sbatch", "my sweep.yaml", array)
    for task in range(POINTS):
        facts = slurm.wait(f"{tasks}_{task}", *cluster.ENDED)
        tap.check(facts["JobState"] == "COMPLETED", f"task {task} of the array ends well",
                  f"{facts}\n{cluster.log_of(array, f'{tasks}_{task}')}")
    rows = sweeps.rows(array)
    tap.check(len(rows) == POINTS and all(row["status"] == "complete" for row in rows.values()), "one table has all points", rows)

    bagging = submit("jobs/bag.sbatch", "my sweep.yaml", bag, 2)
    facts = slurm.wait(bagging, *cluster.ENDED)
    tap.check(facts["JobState"] == "COMPLETED", "a bag of two members ends well", f"{facts}\n{cluster.log_of(bag, bagging)}")
    alone = os.path.join(work, "alone")
    status, out, err = program.run(1, "train", os.path.join(place, "my sweep.yaml"), "-s", f"output={alone}")
    bits = trained.run_facts(alone)["checksum"]
    point = next(row for row in rows.values() if row["k"] == "7" and row["seed"] == "1")
    tap.check(status == 0 and bits == trained.run_facts(os.path.join(bag, "member-1"))["checksum"] == point["checksum"],
              "its first member, and the point of the array, have the bits of a training alone", out + err)
    tap.check(os.path.exists(os.path.join(bag, "member-2", "run.json")), "and there is a second")

    job = submit("jobs/nightly.sbatch", "store.h5", "my night.yaml", night, *NIGHT)
    cluster.wait_for(lambda: os.path.exists(os.path.join(night, "log.txt")) or slurm.job(job)["JobState"] in cluster.ENDED)
    slurm.command("scancel", "--batch", "--signal=USR1", job)
    facts = slurm.wait(job, "PENDING", *cluster.ENDED)
    tap.check(facts["JobState"] == "PENDING" and "stopped early; the same command goes on" in cluster.log_of(night, job),
              "a night at its time limit ends the program that runs with a checkpoint, and is requeued", f"{facts}\n{cluster.log_of(night, job)}")
    slurm.run_again(job)
    facts = slurm.wait(job, *cluster.ENDED)
    nights = os.listdir(os.path.join(night, "nights"))
    tap.check(facts["JobState"] == "COMPLETED" and len(nights) == 1, "the same night goes on and ends",
              f"{facts}\n{cluster.log_of(night, job)}")
    made = os.path.join(night, "nights", nights[0])
    with open(os.path.join(made, "night.json"), encoding="utf-8") as file:
        about = json.load(file)
    tap.check(about["status"] == "complete" and len(about["seconds"]) == 2 and os.path.exists(os.path.join(made, "REPORT.html")),
              "with all its parts, and its report", about)
    after = everything(place)
    tap.check(before == after and sorted(os.listdir(work)) == ["a bag", "alone", "an array", "some nights"] and not os.listdir(home),
              "nothing is written outside the output directories", set(before.items()) ^ set(after.items()))
tap.done()
