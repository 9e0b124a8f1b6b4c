#!/usr/bin/python3
# seconds: 600
"""A sweep of 24 points, 32-fold apart in cost, in one allocation of four hosts, in which a rank, the job or a host is killed at ten
random moments: each time the same command goes on, and at the end no point is lost, none is there twice, and all have the bits
of a sweep that nobody disturbed."""
import os
import random
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster
import program
import sweeps
import tap
import trained

SWEEP = {"train.tokens": [150 * steps for steps in (80, 160, 320, 640, 1280, 2560)], "train.seed": [1, 2, 3, 4]}
KILLS = ["rank"] * 4 + ["job"] * 3 + ["host"] * 3
HOSTS = 4
SEED = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(10**6)))


def ranks(slurm):
    """Process numbers of the ranks on the sandbox's hosts, as this machine counts them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as name, open(f"/proc/{pid}/environ", "rb") as environ:
                if name.read() == "hpsae\n" and f"{slurm.path}/".encode() in environ.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def rows(run):
    try:
        return sweeps.rows(run)
    except OSError:
        return {}


def begin(slurm, settings, run):
    return slurm.sbatch("jobs/sweep.sbatch", settings, run, hosts=HOSTS, HPSAE_WAIT="3")


def kill_rank(slurm, job):
    """The others must end too, and the job tell of it."""
    os.kill(random.choice(ranks(slurm)), signal.SIGKILL)
    return slurm.wait(job, *cluster.ENDED)["JobState"] == "FAILED"


def kill_job(slurm, job):
    """All its processes at once."""
    slurm.command("scancel", "--full", "--signal=KILL", job)
    return slurm.wait(job, *cluster.ENDED)["JobState"] in ("FAILED", "CANCELLED")


def kill_host(slurm, job):
    """One of its hosts loses power; Slurm puts it back into the queue, and another takes the host's place."""
    host = random.choice(slurm.command("scontrol", "show", "hostnames", slurm.job(job)["NodeList"])[1].split())
    slurm.sandbox("kill", host)
    slurm.command("scontrol", "update", f"NodeName={host}", "State=DOWN", "Reason=power")
    slurm.run_again(job)
    return slurm.job(job)["JobState"] in ("PENDING", "RUNNING")


def disturb(slurm, settings, run, sort, job, patience):
    """Kills within so many seconds after the job begins to train; the job that goes on."""
    starts = 1 + int(slurm.job(job)["Restarts"])
    training = cluster.wait_for(lambda: cluster.log_of(run, job).count("ranks begin as") == starts
                                or slurm.job(job)["JobState"] in cluster.ENDED)
    time.sleep(random.uniform(0, patience))
    hit = bool(training) and slurm.job(job)["JobState"] == "RUNNING" and bool(ranks(slurm))
    ended = hit and {"rank": kill_rank, "job": kill_job, "host": kill_host}[sort](slurm, job)
    tap.check(ended, f"killed: {sort}; {len(rows(run))} points are done",
              f"{slurm.job(job)}\n{cluster.log_of(run, job)}")
    return job if sort == "host" else begin(slurm, settings, run)


random.seed(SEED)
tap.note(f"TEST_SEED={SEED}")
if " sweep " not in program.run(1, "--help")[1]:
    tap.skip_all("this program has no sweeps")
with cluster.Cluster(HOSTS + KILLS.count("host"), kill_wait=5) as slurm, program.Directory() as path:
    trained.make_store(path, 1500, 45)
    settings = sweeps.write_config(path, {"axes": SWEEP}, train__eval_steps=0, train__log_steps=50, train__checkpoint__every_steps=50,
                                   model__latents=1000)
    straight, run = os.path.join(path, "straight"), os.path.join(path, "run")
    job = begin(slurm, settings, straight)
    facts = slurm.wait(job, *cluster.ENDED)
    text = cluster.log_of(straight, job)
    tap.check(facts["JobState"] == "COMPLETED", "the sweep that nobody disturbs ends well", f"{facts}\n{text}")
    for line in [line for line in text.splitlines() if "idle" in line]:
        tap.note(line)
    seconds = sum(float(row["seconds"]) for row in rows(straight).values()) / HOSTS

    random.shuffle(KILLS)
    job = begin(slurm, settings, run)
    for sort in KILLS:
        job = disturb(slurm, settings, run, sort, job, seconds / 24)
    facts = slurm.wait(job, *cluster.ENDED)
    tap.check(facts["JobState"] == "COMPLETED", "the disturbed one ends well", f"{facts}\n{cluster.log_of(run, job)}")
    tap.check(len(rows(run)) == 24 and len(os.listdir(os.path.join(run, "points"))) == 24, "24 points, none lost, none twice", rows(run))
    tap.check(sweeps.exact_rows(run) == sweeps.exact_rows(straight), "each with the row of the sweep that nobody disturbed")
tap.done()
