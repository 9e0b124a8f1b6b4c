#!/usr/bin/python3
# seconds: 600
"""The job scripts as a user without root has them: every path with spaces, a home and a copy of hpsae that are read-only.
Nothing is written outside the output directory; a dependency holds; what fails says why, with the documented status."""
import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster
import tap
import trained

NOBODY = 65534


def tree(top, without):
    """Every path under top and when it was changed, but for one directory."""
    found = {}
    for folder, inner, files in os.walk(top):
        inner[:] = [name for name in inner if os.path.join(folder, name) != without]
        found.update({path: os.lstat(path).st_mtime_ns for path in (os.path.join(folder, name) for name in files + inner)})
    return found


def submit(slurm, place, *words, **more):
    return slurm.sbatch(*words, hosts=2, cwd=place, user=NOBODY, HOME=os.path.join(os.path.dirname(place), "read-only home"),
                        HPSAE=None, HPSAE_ROOT=None, TMPDIR=None, **more)


scripts = [os.path.join(folder, name) for folder in ("jobs", "tests/slurm") for name in os.listdir(os.path.join(cluster.ROOT, folder))
           if name.endswith((".sh", ".sbatch"))]
if shutil.which("shellcheck"):
    done = subprocess.run(["shellcheck", *scripts], cwd=cluster.ROOT, capture_output=True, text=True, check=False)
    tap.check(done.returncode == 0, "shellcheck finds nothing", done.stdout)

with cluster.Cluster() as slurm:
    user = os.path.join(slurm.path, "a user")
    place, work = os.path.join(user, "my hpsae"), os.path.join(user, "scratch of mine")
    for path in (place, work, os.path.join(user, "read-only home")):
        os.makedirs(path)
    cluster.copy_of_scripts(place)
    trained.make_store(place, 1500, 45)
    os.rename(trained.write_config(place, output="nowhere"), os.path.join(place, "my config.yaml"))
    os.chmod(os.path.join(user, "read-only home"), 0o555)
    os.chown(work, NOBODY, NOBODY)
    run = os.path.join(work, "run 1")
    before = tree(user, run)

    train = submit(slurm, place, "jobs/train.sbatch", "my config.yaml", run)
    evaluate = submit(slurm, place, f"--dependency=afterok:{train}", "jobs/eval.sbatch", "my config.yaml", run)
    facts = slurm.wait(train, *cluster.ENDED)
    tap.check(facts["JobState"] == "COMPLETED" and facts["UserId"].endswith(f"({NOBODY})"), "a user's training job ends well",
              f"{facts}\n{cluster.log_of(run, train)}")
    facts = slurm.wait(evaluate, *cluster.ENDED)
    tap.check(facts["JobState"] == "COMPLETED" and os.path.exists(os.path.join(run, "eval.json")),
              "and then the evaluation that depends on it", f"{facts}\n{cluster.log_of(run, evaluate)}")
    tap.check(trained.run_facts(run)["status"] == "complete" and trained.run_facts(run)["ranks"] == 2, "on both hosts")
    after = tree(user, run)
    after.pop(run, None)
    before.pop(work), after.pop(work)  # where the output directory appeared
    tap.check(before == after, "nothing is written outside the output directory", set(before.items()) ^ set(after.items()))

    job = submit(slurm, place, "jobs/train.sbatch", "my config.yaml", os.path.join(work, "bad"), "-s", "model.k=-3")
    facts = slurm.wait(job, *cluster.ENDED)
    tap.check(facts["ExitCode"] == "2:0" and "model.k" in facts["Comment"], "a bad value: status 2, and Slurm knows why", facts)
    job = submit(slurm, place, "jobs/train.sbatch", "my config.yaml", "read-only")
    facts = slurm.wait(job, *cluster.ENDED)
    tap.check(facts["ExitCode"] == "2:0" and "cannot be written to" in facts["Comment"], "likewise an output that cannot be made",
              facts)
    job = submit(slurm, place, "jobs/train.sbatch", "my config.yaml", os.path.join(work, "other"), HPSAE_LAUNCH="rsh")
    facts = slurm.wait(job, *cluster.ENDED)
    tap.check(facts["ExitCode"] == "2:0" and "HPSAE_LAUNCH=rsh" in facts["Comment"], "and a launcher that is none", facts)

    # A script that plan prints is submitted as it is.
    path = os.path.join(work, "planned.sbatch")
    status, out = slurm.command("bin/hpsae", "plan", "my config.yaml", "--sbatch", "--nodes", 2, "--threads", 1, "-s", f"output={work}/run 2",
                                cwd=place, user=NOBODY, HPSAE=None)
    tap.check(status == 0 and out.startswith("#!/bin/bash\n"), "plan --sbatch prints a script", out)
    with open(path, "w", encoding="utf-8") as file:
        file.write(out)
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False) if shutil.which("shellcheck") else None
    tap.check(done is None or done.returncode == 0, "which shellcheck likes", done and done.stdout)
    status, job = slurm.command("sbatch", "--parsable", path, cwd=place, user=NOBODY, HPSAE=None)
    facts = slurm.wait(int(job), *cluster.ENDED)
    tap.check(facts["JobState"] == "COMPLETED", "and Slurm runs", f"{facts}\n{cluster.log_of(f'{work}/run 2', int(job))}")
    same = [trained.run_facts(os.path.join(work, name)).get("checksum") for name in ("run 1", "run 2")]
    tap.check(same[0] == same[1], "with the same bits", same)
tap.done()
