#!/usr/bin/python3
# seconds: 900
"""A sweep trains the points that axes, zips and lists name, each with the bits of `hpsae train` with those keys, whatever
group of ranks it ran in; the table is the same on 1 to 4 ranks but for times; a point that is complete is never run again, one
that fails is recorded and stops no other, single points by parallel processes fill the same table, and a stop is gone on from."""
import glob
import json
import os
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import sweeps
import tap
import trained

SWEEP = {"axes": {"model.latents": [160, 331], "model": {"k": [3, 7]}},
         "zip": {"train.seed": [1, 2], "train.lr": [2e-3, 1e-3]},
         "list": [{"train.objective": "matryoshka", "train.matryoshka.prefixes": [32, 331], "model.k": 5},
                  {"kernels.backend": "ref", "train.tokens": 1500}]}
TOGETHER = ("-s", "sweep.together=3")
GRID = [f"latents{n}_k{k}_seed{s}_lr{lr}" for n in (160, 331) for k in (3, 7) for s, lr in ((1, 0.002), (2, 0.001))]


def run(ranks, settings, output, *arguments):
    return program.run(ranks, "sweep", settings, "-s", f"output={output}", *arguments)


def stamps(output):
    """When each point's file was last written."""
    return {path: os.stat(path).st_mtime_ns for path in glob.glob(os.path.join(output, "points", "*", "point.json"))}


def names_and_order(settings, directory):
    status, out, err = program.run(1, "sweep", settings, "--dry-run")
    listed = [line.split()[5].rstrip(":") for line in out.splitlines() if "waiting" in line]
    tap.check(status == 0 and listed[:8] == GRID and len(listed) == 10, "a dry run lists the points, the grid's first",
              out + err)
    tap.check(not os.path.exists(os.path.join(directory, "run")), "a dry run writes nothing")
    return listed


def as_arguments(entry):
    """The keys that a point sets, as overrides."""
    return [word for key, value in entry["set"].items() for word in ("-s", f"{key}={json.dumps(value).strip(chr(34))}")]


def equals_plain_training(settings, directory, output, names):
    for number, name in enumerate(names):
        entry, row = sweeps.points(output)[name], sweeps.rows(output)[name]
        plain = os.path.join(directory, f"plain-{number}")
        status, out, err = program.run(2 if number == 0 else 1, "train", settings, "-s", f"output={plain}", *as_arguments(entry))
        facts = trained.run_facts(plain) if status == 0 else {}
        tap.check(facts.get("checksum") == row["checksum"], f"{name}: the checksum of hpsae train", out + err)
        if number == 0:
            point = os.path.join(output, "points", name)
            tap.check(trained.exact_lines(plain) == trained.exact_lines(point), f"{name}: the same metrics.jsonl")
            program.run(1, "eval", settings, "-s", f"output={plain}", *as_arguments(entry))
            with open(os.path.join(plain, "eval.json"), encoding="utf-8") as file:
                found = json.load(file)
            with open(os.path.join(point, "eval.json"), encoding="utf-8") as file:
                there = json.load(file)
            tap.check({**found, "model": ""} == {**there, "model": ""}, f"{name}: eval.json is that of hpsae eval",
                      f"{found}\n{there}")


def same_table(output):
    """results.h5 and results.csv say the same."""
    csv, h5 = sweeps.rows(output), sweeps.rows_of_h5(output)
    bad = [(name, column) for name, row in csv.items() for column, text in row.items()
           if not (text == "" if h5[name][column] is None else h5[name][column] == type(h5[name][column])(text))]
    tap.check(list(csv) == list(h5) and not bad, "results.h5 holds the rows of results.csv", bad)


with program.Directory() as path:
    trained.make_store(path, 1500, 61)
    settings = sweeps.write_config(path, SWEEP)
    order = names_and_order(settings, path)
    tables = {}
    for ranks, more in ((1, ()), (2, ()), (3, ("-s", "sweep.ranks=2")), (4, ("-s", "sweep.ranks=4")), (4, ()),
                        (1, TOGETHER), (3, TOGETHER)):
        output = os.path.join(path, f"sweep-{len(tables)}")
        status, out, err = run(ranks, settings, output, *more)
        tap.check(status == 0 and "10 points completed, 0 failed" in out, f"a sweep ends on {ranks} ranks {more}", out + err)
        tables[ranks, more] = sweeps.exact_rows(output)
        tap.check(list(tables[ranks, more]) == order == list(sweeps.points(output)), "one row a point, in their order",
                  list(tables[ranks, more]))
        if "sweep.ranks" in str(more):
            used = {row["ranks"] for row in sweeps.rows(output).values()}
            tap.check(used == {"3" if ranks == 3 else "4"}, "groups have the ranks asked for, or as near as they come", used)
        if len(tables) == 1:
            first = tables[ranks, more]
        tap.check(tables[ranks, more] == first, f"the rows of 1 rank, on {ranks} {more}", f"{tables[ranks, more]}\n{first}")
    same_table(output)
    flops = {name: float(row["flops"]) for name, row in sweeps.rows(output).items()}
    tap.check(flops[GRID[0]] == 3000 * (2 * 160 * 61 + 8 * 3 * 61), "flops are 2 n d + 8 k d a token", flops)
    equals_plain_training(settings, path, output, [GRID[5], order[8], order[9]])

    before = stamps(output)
    status, out, err = run(2, settings, output)
    tap.check(status == 0 and "nothing to do" in out and stamps(output) == before, "what is complete is not run again",
              out + err)
    status, out, err = program.run(1, "info", output, "--json")
    about = json.loads(out) if status == 0 else {}
    tap.check(about.get("kind") == "sweep" and about["complete"] == 10 and len(about["points"]) == 10,
              "info tells how far the sweep is", out + err)
    with open(settings, encoding="utf-8") as file:
        config = json.load(file)
    config["train"]["beta2"] = 0.99
    other = os.path.join(path, "other.yaml")
    with open(other, "w", encoding="utf-8") as file:
        json.dump(config, file)
    status, out, err = run(1, other, output)
    tap.check(status == 2 and "another configuration (train.beta2: 0.99 here, 0.999 there)" in err and
              stamps(output) == before, "points of another configuration are not mixed in", out + err)
    config["train"]["beta2"], config["sweep"]["zip"] = 0.999, {"train.seed": [1, 2, 3], "train.lr": [2e-3, 1e-3, 5e-4]}
    config["sweep"].pop("list")
    with open(other, "w", encoding="utf-8") as file:
        json.dump(config, file)
    status, out, err = run(2, other, output)
    kept = {name: row for name, row in sweeps.exact_rows(output).items() if name in first}
    tap.check(status == 0 and "4 points completed" in out and kept == first and len(sweeps.rows(output)) == 14,
              "a sweep that grows keeps its points, and those that it no longer names", out + err)

    # The tasks of a job array, all at once.
    output = os.path.join(path, "array")
    environment = {**os.environ, **program.ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    jobs = [subprocess.Popen(["timeout", "200", program.PROGRAM, "sweep", settings, "-s", f"output={output}", "--point", str(i)],
                             env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for i in range(10)]
    said = [job.communicate()[0] for job in jobs]
    tap.check(all(job.returncode == 0 for job in jobs), "points run alone by parallel processes", "\n".join(said))
    tap.check(sweeps.exact_rows(output) == first, "they fill the same table", sweeps.exact_rows(output))
    same_table(output)

# One large point among small ones: a group parts when it is done with the large one's ranks.
with program.Directory() as path:
    trained.make_store(path, 1500, 61)
    settings = sweeps.write_config(path, {"axes": {"train.seed": list(range(1, 8))}, "list": [{"model.latents": 16384}]},
                                   model__latents=64, train__tokens=10240, train__batch=1024, train__eval_steps=0,
                                   eval__max_cos=False)
    tables = []
    for ranks in (1, 4):
        output = os.path.join(path, f"on-{ranks}")
        status, out, err = run(ranks, settings, output)
        tap.check(status == 0, f"a large point among small ones, {ranks} ranks", out + err)
        tap.note([line for line in out.splitlines() if "begin as" in line or "idle" in line][-1])
        tables.append(sweeps.exact_rows(output))
    tap.check(tables[0] == tables[1] and len(tables[0]) == 8, "the same rows on 1 and 4 ranks", tables)

# Points that fail.
with program.Directory() as path:
    trained.make_store(path, 1500, 61)
    settings = sweeps.write_config(path, {"axes": {"train.epsilon": [1e-300, 1e-9], "train.seed": [1, 2]}}, train__warmup_steps=0)
    for ranks, together in ((3, 1), (1, 1), (2, 4)):
        output = os.path.join(path, f"together-{together}")
        blocked = os.path.join(output, "points", "epsilon1e-09_seed2")
        os.makedirs(os.path.join(blocked, "metrics.jsonl"), exist_ok=True)  # where a file is to be written
        status, out, err = run(ranks, settings, output, "-s", f"sweep.together={together}")
        tap.check(status == 2 and "3 of 4 points failed" in err, f"status 2 says that points failed, {ranks} ranks", out + err)
        state = {name: (entry["status"], entry["reason"] or "") for name, entry in sweeps.points(output).items()}
        tap.check([s for s, _ in state.values()] == ["failed", "failed", "complete", "failed"] and
                  all("epsilon1e-300" not in name or "not finite" in why for name, (_, why) in state.items()) and
                  "metrics.jsonl" in state["epsilon1e-09_seed2"][1], "sweep.json says which and why", state)
        tap.check([row["status"] for row in sweeps.rows(output).values()] == ["failed", "failed", "complete", "failed"] and
                  all((row["ev"] == "") == (row["status"] == "failed") for row in sweeps.rows(output).values()),
                  "the table has them without figures", sweeps.rows(output))
    same_table(output)
    before = stamps(output)
    os.rmdir(os.path.join(blocked, "metrics.jsonl"))
    status, out, err = run(2, settings, output)
    again = sorted(name for name, stamp in stamps(output).items() if stamp != before[name])
    tap.check(status == 2 and "2 of 4 points failed" in err and again == [os.path.join(blocked, "point.json")],
              "what can be mended is tried again, what diverged is not", f"{again}\n{out}{err}")

# An end that is asked for.
with program.Directory() as path:
    trained.make_store(path, 1500, 61)
    settings = sweeps.write_config(path, {"axes": {"train.seed": [1, 2, 3, 4, 5]}}, train__tokens=150 * 1500, train__eval_steps=0)
    output, straight = os.path.join(path, "run"), os.path.join(path, "straight")
    status, out, err = run(2, settings, straight)
    tap.check(status == 0, "the straight sweep ends", out + err)
    for how in ("a signal", "the file stop", "the clock"):
        more = ["-s", "train.max_minutes=0.02"] if how == "the clock" else []
        job = subprocess.Popen(["timeout", "120", "mpirun", "-n", "3", program.PROGRAM, "sweep", settings, *more],
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.time() + 60
        while not glob.glob(os.path.join(output, "points", "*", "metrics.jsonl")) and time.time() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        if how == "a signal":
            os.kill(program.children(job.pid)[0], signal.SIGUSR1)  # mpirun, which passes it on
        elif how == "the file stop":
            with open(os.path.join(output, "stop"), "w", encoding="utf-8"):
                pass
        out, err = job.communicate()
        tap.check(job.returncode == 75, f"{how}: status 75", f"{job.returncode}\n{out}{err}")
        tap.check(not os.path.exists(os.path.join(output, "stop")), f"{how}: no file stop is left")
        state = [entry["status"] for entry in sweeps.points(output).values()]
        tap.check("waiting" in state and "running" not in state, f"{how}: points wait", state)
    status, out, err = run(2, settings, output)
    tap.check(status == 0 and sweeps.exact_rows(output) == sweeps.exact_rows(straight),
              "the sweep goes on to the rows of a straight one", out + err)
tap.done()
