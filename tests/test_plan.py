#!/usr/bin/python3
# seconds: 600
"""hpsae plan, without MPI: its memory is what train states, its disk what a checkpoint takes, its bytes on the wire those
of the formulas; what it says would make a run fit does, and is the least; a bench file decides the seconds; every mistake
is one line and status 2."""
import json
import math
import os
import re
import subprocess
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import tap
import trained

MIB, GIB = 2**20, 2**30
ROWS, D = 1500, 45
PHASES = ("io", "encode", "select", "decode", "aux", "gradient_adam", "comm")


def plan(path, *arguments, environment=None):
    """`hpsae plan CONFIG arguments`, as on a machine without MPI: (status, stdout, stderr, the JSON or None)."""
    result = os.path.join(os.path.dirname(path), "plan.json")
    if os.path.exists(result):
        os.unlink(result)
    command = [program.PROGRAM, "plan", path, "--json", result, *[str(word) for word in arguments]]
    done = subprocess.run(command, env={"PATH": "", **(environment or {})}, capture_output=True, text=True, check=False)
    facts = None
    if os.path.exists(result):
        with open(result, encoding="utf-8") as file:
            facts = json.load(file)
    return done.returncode, done.stdout, done.stderr, facts


def share(k, ranks):
    """Candidates a token that a rank brings: the mean, three standard deviations of a fair deal and two."""
    return min(k, math.ceil(k / ranks + 3 * math.sqrt(k / ranks * (1 - 1 / ranks)) + 2)) if ranks > 1 else k


def refused(name, words, path, *arguments):
    status, out, err, facts = plan(path, *arguments)
    tap.check(status == 2 and err.count("\n") == 1 and err.startswith("hpsae: error: ") and words in err and facts is None,
              f"refused: {name}", f"status {status}\n{out}\n{err}")


VARIANTS = {
    "plain": {},
    "large batch, wide sample": {"train__batch": 900, "train__sample": 1400, "model__latents": 800},
    "matryoshka over the batch": {"model__select": "batch_topk", "train__objective": "matryoshka"},
    "by gradient": {"model__select": "gradient"},
    "hierarchical, clip, average": {"train__objective": "hierarchical", "train__clip": 1.0, "train__ema": 0.99},
    "multi_topk, k annealed": {"train__objective": "multi_topk", "train__k_start": 20, "train__k_steps": 3},
    "no AuxK": {"train__aux": {"k": 0}},
}

with program.Directory() as directory:
    rows = trained.planted_rows(ROWS, D)
    program.write_store(os.path.join(directory, "store.h5"), rows,
                        gradients=np.random.default_rng(3).normal(size=rows.shape))
    for number, (name, keys) in enumerate(VARIANTS.items()):
        ranks = 1 + number % 3
        threads = 1 + number % 2
        config = trained.write_config(directory, **{"train__tokens": 900, "train__eval_steps": 0, **keys})
        run = os.path.join(directory, f"run{number}")
        status, out, err = program.run(ranks, "train", config, "-s", f"output={run}", threads=threads)
        tap.check(status == 0, f"{name}: trains", out + err)
        kernels = trained.run_facts(run)["kernels"]["backend"]  # "auto" is decided by a measurement
        status, out, err, facts = plan(config, "--ranks-per-node", ranks, "--threads", threads, "-s",
                                       f"kernels.backend={kernels}")
        if not tap.check(status == 0 and err == "", f"{name}: is planned", out + err):
            continue
        real, said = trained.run_facts(run)["memory_bytes"], facts["memory"]
        tap.check(said["state"] == real["state"], f"{name}: parameters and moments are those of train", (said, real))
        tap.check(abs(said["buffers"] - real["buffers"]) < 32768, f"{name}: buffers are those of train", (said, real))
        tap.check(abs(said["starting"] - real["starting"]) < 65536, f"{name}: the start takes as much", (said, real))
        size = os.path.getsize(program.checkpoint_path(run, trained.run_facts(run)["step"]))
        tap.check(size <= facts["disk"]["checkpoint"] < size + 320 * 1024, f"{name}: a checkpoint takes as much",
                  (size, facts["disk"]))
        tap.check(facts["run"]["steps"] == trained.run_facts(run)["step"], f"{name}: so many steps", facts["run"])

    # Ensembles: members at once hold as much as train says that they do together; residuals are all rows in float32.
    config = trained.write_config(directory, train__tokens=900, train__eval_steps=0, kernels__backend="ref")
    bag = ("-s", "ensemble.method=bagging", "-s", "ensemble.members=3")
    status, out, err = program.run(1, "train", config, "-s", f"output={directory}/bag", *bag)
    tap.check(status == 0, "a bag trains", out + err)
    members = [trained.run_facts(f"{directory}/bag/member-{j}")["memory_bytes"] for j in (1, 2, 3)]
    alone, (status, out, err, facts) = plan(config, "--threads", 1)[3], plan(config, "--threads", 1, *bag)
    tap.check(facts["ensemble"]["at_once"] == 3 and facts["memory"]["state"] == sum(m["state"] for m in members) and
              sum(m["buffers"] for m in members) <= facts["memory"]["buffers"] + 3 * 32768, "members at once in memory",
              (facts["memory"], members))
    tap.check(math.isclose(facts["time"]["total_seconds"], 3 * alone["time"]["total_seconds"]), "and their time", facts)
    apart = plan(config, "--threads", 1, *bag, "--ranks-per-node", 3)[3]
    tap.check((apart["ensemble"]["groups"], apart["ensemble"]["at_once"], apart["layout"]["ranks"]) == (3, 1, 1),
              "groups of ranks side by side", apart)
    chain = ("-s", "ensemble.method=boosting", "-s", "ensemble.members=4")
    status, out, err, facts = plan(config, "--threads", 1, *chain)
    size = facts["ensemble"]["residual_bytes"]
    tap.check(ROWS * D * 4 <= size < ROWS * D * 4 + 131072 and facts["ensemble"]["residual_sets"] == 2 and
              "residuals" in out, "residuals of a chain, two sets at a time", out + err)
    tap.check(facts["disk"]["most"] == facts["disk"]["checkpoint"] * (4 * 2 + 1), "checkpoints of all stages", facts["disk"])
    tap.check(plan(config, *chain, "-s", "ensemble.keep=all")[3]["ensemble"]["residual_sets"] == 3, "or all sets")
    live = plan(config, "--threads", 1, *chain, "-s", "ensemble.residuals=live")[3]
    status, out, err = program.run(1, "train", config, "-s", f"output={directory}/live", *chain, "-s",
                                   "ensemble.residuals=live")
    takes = [float(line.split("take ")[1].split()[0]) for line in out.splitlines() if "through 3 stages" in line]
    more = (live["memory"]["buffers"] - facts["memory"]["buffers"]) / MIB
    tap.check(live["ensemble"]["residual_bytes"] == 0 and takes and abs(takes[0] - more) < 0.1,
              "live residuals take the memory of the stages before", (takes, more))

    # Bytes: an allgather sends all that is not a rank's own once, an allreduce twice.
    sizes = {"model__latents": 4096, "model__k": 32, "train__batch": 512, "train__aux": {"k": 64},
             "kernels__backend": "ref"}
    config = trained.write_config(directory, **sizes)
    for ranks in (1, 2, 5):
        _, out, _, facts = plan(config, "--ranks-per-node", ranks, "--dim", 96, "--dtype", "bfloat16", "--dead", 0.5)
        others, sends = (ranks - 1) / ranks, facts["phases"]
        right = {"io": others * 512 * 96 * 2, "select": others * 512 * (8 * (32 + share(32, ranks)) + 4),
                 "aux": others * 512 * 8 * (64 + share(64, ranks)),
                 "comm": 2 * others * 8 * (512 * (32 + 64) + 4096 + 96 + 1), "encode": 0, "decode": 0, "gradient_adam": 0}
        tap.check(all(math.isclose(sends[p]["bytes"], right[p], rel_tol=1e-12) for p in PHASES),
                  f"bytes on the wire of {ranks} ranks", (sends, right))
        tap.check(all(sends[p]["messages"] % max(math.ceil(math.log2(ranks)), 1) == 0 for p in PHASES),
                  f"messages of {ranks} ranks", sends)
        tap.check(math.isclose(facts["time"]["input_bytes_per_s"] * facts["time"]["step_seconds"], 512 * 96 * 2),
                  f"input of {ranks} ranks is a batch a step")

    # The same with the store and without it.
    with_store, without = (plan(config, *more)[3] for more in ((), ("--dim", D, "--rows", ROWS, "--dtype", "float32")))
    with_store["memory"].pop("fits"), without["memory"].pop("fits")
    tap.check(with_store == without, "--dim, --rows and --dtype stand for the store", (with_store, without))
    gone = trained.write_config(directory, data__store="nowhere.h5")
    status, out, err, facts = plan(gone, "--dim", D)
    tap.check(status == 0 and facts is not None, "with --dim the store need not exist", out + err)
    refused("a store that is not there", "--dim", gone)
    config = trained.write_config(directory, **sizes)

    # What would make it fit.
    big = ("-s", "model.latents=1000000", "-s", "train.batch=16384", "-s", "train.tokens=1000000", "--dim", 512,
           "--ranks-per-node", 4, "--threads", 2)
    _, out, _, facts = plan(config, *big, "--memory-per-node", 4)
    remedies = facts["remedies"]
    tap.check(not facts["memory"]["fits"] and "DOES NOT FIT" in out and f"--nodes {remedies['nodes']} (1 now)" in out and
              f"model.latents {remedies['latents']} (1000000 now)" in out, "what cannot fit is said, with what would", out)
    tap.check(remedies["batch"] is None, "no batch makes parameters fit", remedies)

    def fits(*more, memory=4):
        return plan(config, *big, "--memory-per-node", memory, *more)[3]["memory"]["fits"]

    tap.check(fits("--nodes", remedies["nodes"]) and not fits("--nodes", remedies["nodes"] - 1),
              "so many nodes are enough, one fewer is not", remedies)
    n = remedies["latents"]
    tap.check(fits("-s", f"model.latents={n}") and not fits("-s", f"model.latents={n + 32}"),
              "so many latents fit, a block more does not", remedies)
    memory = (facts["memory"]["state"] * 4 + 600 * MIB) / GIB
    remedies = plan(config, *big, "--memory-per-node", memory)[3]["remedies"]
    B = remedies["batch"]
    tap.check(B and fits("-s", f"train.batch={B}", memory=memory) and
              not fits("-s", f"train.batch={B + 64}", memory=memory), "so large a batch fits, 64 more do not", remedies)
    _, out, _, facts = plan(config, *big, "--memory-per-node", 0.1)
    tap.check(facts["best"] is None and "none fits" in out, "no grid is named where none fits", out)

    # A size beyond an int, on a machine that holds none of it.
    status, out, err, facts = plan(config, "-s", "model.latents=16777216", "-s", "model.k=256", "-s", "train.batch=65536",
                                   "-s", "train.tokens=1000000000", "--dim", 12288, "--nodes", 64, "--ranks-per-node", 2,
                                   "--threads", 32)
    state = 3 * 4 * 2 * 16777216 * 12288 / 128
    tap.check(status == 0 and state < facts["memory"]["state"] < 1.1 * state + 16777216 * 8, "the largest dictionary",
              out + err)
    tap.check("network   assumed" in out, "the network is assumed, and said so", out)

    # A bench file decides the seconds.
    _, out, _, facts = plan(config)
    tap.check(out.splitlines()[0].startswith("figures   assumed, not measured") and facts["assumed"],
              "the first line says what is assumed", out)
    bench = {"format": "hpsae bench 1", "host": "h", "cpu": "c", "backend": "b", "ranks": 4, "ranks_per_node": 4,
             "threads": 8, "libraries": 50 * MIB, "limits": {}, "coefficients": {}, "measured": []}
    for limit in ("screen_flops", "float32_flops", "memory_bytes", "latency", "allreduce_bytes", "merge_pairs",
                  "read_bytes"):
        bench["limits"][limit] = 1e9
    names = {"io": "step read_bytes widened messages bytes", "encode": "step products scanned rescued candidates streamed",
             "select": "step centred pairs messages bytes slots sorted scored",
             "decode": "step slot_columns slots columns nested_columns nested_slots tokens far_columns nested_far",
             "aux": "latents products rescued slot_columns pairs messages bytes slots",
             "gradient_adam": "step parameters slot_columns slots latents nested_columns clipped averaged summed far_columns nested_far suffixes",
             "comm": "step messages bytes slots group_messages group_bytes"}
    for phase, features in names.items():
        bench["coefficients"][phase] = {feature: 0.0 for feature in features.split()}
    path = os.path.join(directory, "bench.json")

    def with_bench(*more):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(bench, file)
        return plan(config, "--bench", path, "--dim", 96, *more)

    bench["coefficients"]["encode"]["products"] = 1e-12
    bench["coefficients"]["comm"]["step"] = 0.25
    status, out, err, facts = with_bench("--ranks-per-node", 2, "--threads", 4)
    steps = -(-3000 // 512)
    encode = 1e-12 * 2048 * 96 * 512 / 4
    tap.check(status == 0 and path in out.splitlines()[0] and not facts["assumed"], "the first line names the file",
              out + err)
    tap.check(math.isclose(facts["phases"]["encode"]["seconds"], encode) and
              math.isclose(facts["time"]["step_seconds"], 0.25 + encode), "its coefficients are the seconds", facts)
    tap.check(math.isclose(facts["time"]["total_seconds"],
                           steps * (0.25 + encode) + facts["time"]["evaluation_seconds"]), "and the time to finish", facts)
    tap.check(50 * MIB <= facts["memory"]["libraries"] < 60 * MIB, "memory of the libraries rests on the file", facts["memory"])
    tap.check(with_bench()[3]["layout"]["threads"] == 8, "threads are those of the file")

    # The grid: where messages cost all, one rank; where a rank's serial work costs all, groups that share the tokens.
    bench["coefficients"]["comm"] |= {"step": 0.0, "bytes": 1e-6}
    best = with_bench("--ranks-per-node", 8, "--threads", 1)[3]["best"]
    tap.check((best["groups"], best["ranks"], best["threads"]) == (1, 1, 8), "dear messages: one rank", best)
    bench["coefficients"]["comm"] |= {"bytes": 0.0}
    bench["coefficients"]["gradient_adam"]["slots"] = 1e-6
    best = with_bench("--ranks-per-node", 8, "--threads", 1)[3]["best_groups"]
    tap.check((best["groups"], best["ranks"]) == (8, 1) and "s a step" in best["reason"], "dear slots: groups", best)
    best = with_bench("--ranks-per-node", 8, "--threads", 1)[3]["best"]
    tap.check(best["groups"] == 1, "train.groups is kept unless said otherwise", best)

    # Beyond a node.
    bench["network"] = {"latency": 0.5, "bytes": 1e12}
    slow = with_bench("--ranks-per-node", 1, "--nodes", 4, "--threads", 8)[3]
    tap.check(not slow["network_assumed"] and slow["time"]["communication_share"] > 0.5, "the network's figures count",
              slow["time"])
    fast = with_bench("--ranks-per-node", 1, "--nodes", 4, "--threads", 8, "--network-latency", 1)[3]
    tap.check(fast["time"]["step_seconds"] < slow["time"]["step_seconds"] / 2, "options stand above the file", fast["time"])

    # A job script asks for what was planned.
    words = ("--nodes", 3, "--ranks-per-node", 2, "--threads", 5, "--dim", 96, "-s", "output=it's here")
    status, out, err, facts = plan(config, *words, "--sbatch")
    wishes = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)", out, re.MULTILINE))
    tap.check(status == 0 and (wishes["nodes"], wishes["ntasks-per-node"], wishes["cpus-per-task"]) == ("3", "2", "5"),
              "--sbatch: the layout is in the script", out + err)
    tap.check(wishes["mem"] == f"{math.ceil(1.1 * facts['memory']['node'] / MIB) + 256}M", "and the memory of a node, and a tenth", out)
    minutes = math.ceil(1.25 * facts["time"]["total_seconds"] / 60 + 10)
    tap.check(wishes["time"] == f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00", "and the time, and a quarter",
              (out, facts["time"]))
    tap.check("hpsae_open 'it'\\''s here'\n" in out and f"hpsae_run train '{config}' -s 'output=it'\\''s here'\n" in out,
              "words are quoted", out)
    refused("a script of what does not fit", "--memory-per-node", config, *words, "--memory-per-node", 0.01, "--sbatch")

    # Mistakes.
    bench["coefficients"]["encode"]["products"] = "fast"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(bench, file)
    refused("a coefficient that is no number", "coefficients.encode.products", config, "--bench", path)
    del bench["coefficients"]["encode"]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(bench, file)
    refused("coefficients that are missing", "coefficients.encode.step", config, "--bench", path)
    refused("a bench file that is not there", "no.json", config, "--bench", os.path.join(directory, "no.json"))
    refused("a bench file that is none", "config.yaml", config, "--bench", config)
    refused("no nodes", "--nodes 0", config, "--nodes", 0)
    refused("ranks that are no number", "--ranks-per-node x", config, "--ranks-per-node", "x")
    refused("more ranks than latents", "model.latents", config, "--ranks-per-node", 5000)
    refused("groups that do not divide", "train.groups", config, "--ranks-per-node", 3, "-s", "train.groups=2")
    refused("an unknown option", "--node", config, "--nodez", 3)
    refused("a key that is not known", "train.tokenz", config, "-s", "train.tokenz=3")
    refused("a dtype that is not known", "float8", config, "--dim", 8, "--dtype", "float8")
    refused("a configuration that is not there", "none.yaml", os.path.join(directory, "none.yaml"))
    refused("two configurations", "one file too many", config, config)
    refused("k above n", "model.k", config, "-s", "model.k=5000")
    status, out, err = program.run(1, "-s", "model.k=3", "plan", config)
    tap.check(status == 2 and "comes first" in err, "plan comes first", out + err)

    # No MPI_Init: settings under which it must fail.
    broken = {"OMPI_MCA_pml": "none-such", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    control = subprocess.run([program.PROGRAM, "train", config, "--dry-run"], env={**os.environ, **broken},
                             capture_output=True, text=True, check=False)
    status, out, err, facts = plan(config, environment=broken)
    tap.check(control.returncode != 0 and status == 0 and facts is not None, "plan runs where MPI does not start", out + err)
tap.done()
