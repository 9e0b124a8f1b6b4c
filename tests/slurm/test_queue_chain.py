#!/usr/bin/python3
# seconds: 600
"""A chain of jobs that trains a boosted ensemble, one stage each: a stage that fails takes those after it out of the queue and
says why; the same command goes on, and ends with the bits of a single training; a chain is not submitted twice."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster
import program
import tap
import trained

STAGES = 3


def submit(slurm, settings, output, *more):
    """The command that submits the chain: (status, what it said, jobs by stage)."""
    status, out = slurm.command("bash", "jobs/boost.sbatch", settings, output, STAGES, *more,
                                HPSAE_SBATCH="--nodes=2 --ntasks-per-node=1 --cpus-per-task=1")
    jobs = {}
    for line in out.splitlines():
        words = line.replace(",", "").split()
        if "is job" in line:
            jobs[int(words[2])] = int(words[5])
    return status, out, jobs


status, help_text, _ = program.run(1, "train", "--help")
if "--stage" not in help_text:
    tap.skip_all("this program trains no ensembles")

with cluster.Cluster() as slurm, program.Directory() as path:
    trained.make_store(path, 1200, 45)
    settings = trained.write_config(path)
    whole, chain = os.path.join(path, "whole"), os.path.join(path, "chain")
    status, out, err = program.run(2, "train", settings, "-s", "ensemble.method=boosting", "-s", f"ensemble.members={STAGES}",
                                   "-s", f"output={whole}")
    tap.check(status == 0, "a single training of all stages", out + err)

    # What stage 2 is to write stands in its way as a file.
    os.makedirs(chain)
    obstacle = os.path.join(chain, "stage-2")
    with open(obstacle, "w", encoding="utf-8"):
        pass
    status, out, jobs = submit(slurm, settings, chain)
    tap.check(status == 0 and sorted(jobs) == [1, 2, 3], "one command submits all stages", out)
    facts = [slurm.wait(jobs[stage], *cluster.ENDED) for stage in (1, 2, 3)]
    tap.check(facts[0]["JobState"] == "COMPLETED", "stage 1 is trained", cluster.log_of(chain, jobs[1]))
    tap.check(facts[1]["JobState"] == "FAILED" and facts[1]["ExitCode"] == "2:0" and "stage-2" in facts[1]["Comment"],
              "stage 2 fails and says why", f"{facts[1]}\n{cluster.log_of(chain, jobs[2])}")
    tap.check(facts[2]["JobState"] == "CANCELLED" and not os.path.exists(os.path.join(chain, f"job-{jobs[3]}.log")),
              "stage 3 never begins", facts[2])

    os.unlink(obstacle)
    status, out, jobs = submit(slurm, settings, chain)
    tap.check(status == 0 and "stage 1 is complete" in out and sorted(jobs) == [2, 3], "the same command goes on with stage 2", out)
    tap.check("stage 2, job" in out and "ended with: hpsae: error: " in out, "and says what became of it", out)
    status, out, _ = submit(slurm, settings, chain)
    tap.check(status != 0 and "is in the queue" in out, "a chain that is queued is not submitted twice", out)
    for stage in (2, 3):
        facts = slurm.wait(jobs[stage], *cluster.ENDED)
        tap.check(facts["JobState"] == "COMPLETED", f"stage {stage} is trained", cluster.log_of(chain, jobs[stage]))
    for stage in range(1, STAGES + 1):
        same = [trained.run_facts(os.path.join(run, f"stage-{stage}")).get("state_checksum") for run in (whole, chain)]
        tap.check(same[0] == same[1], f"stage {stage}: the same bits", same)
tap.done()
