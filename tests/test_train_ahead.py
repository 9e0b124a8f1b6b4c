#!/usr/bin/python3
# seconds: 900
"""Reading the next batch while a step computes changes no bit of a run, on 1, 2 and 3 ranks; a bad row fails the step that
uses it, not the one before; a stop while a batch is on its way loses nothing; the figures of the input are told."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import h5py
import numpy as np
import program
import tap
import trained


def train(directory, config, ranks, ahead, *more):
    """(status, stderr, what metrics.jsonl says, run.json) of a run of its own."""
    run = os.path.join(directory, f"run-{ranks}-{ahead}-{len(more)}")
    status, _, err = program.run(ranks, "train", config, "-s", f"output={run}", "-s",
                                 f"train.read_ahead={'true' if ahead else 'false'}", *more)
    return status, err.replace(run, ""), trained.exact_lines(run), trained.run_facts(run)


def check_bits(directory, config, name):
    status, err, lines, facts = train(directory, config, 1, False)
    tap.check(status == 0 and len(lines) == 20, f"{name}: a run without reading ahead", err)
    for ranks in (1, 2, 3):
        status, err, these, about = train(directory, config, ranks, True)
        tap.check(status == 0 and these == lines and about["state_checksum"] == facts["state_checksum"],
                  f"{name}: the same bits with it on {ranks} ranks", err)
    return facts


with program.Directory() as path:
    trained.make_store(path, 1500, 61)
    settings = trained.write_config(path)
    check_bits(path, settings, "topk")
    line = trained.lines(os.path.join(path, "run-2-True-0"))[7]
    input_of = trained.run_facts(os.path.join(path, "run-2-True-0"))["input"]
    for figures, where in ((line["input"], "metrics.jsonl"), (input_of, "run.json")):
        tap.check(figures["mb_per_s"] > 0 and figures["slowest_read_mb_per_s"] > 0 and 0 <= figures["wait_share"] <= 1,
                  f"the input's figures are in {where}", figures)

    # 4 bytes a number, 61 numbers a token, as many tokens as were trained on in the steps' time.
    rate = line["tokens_per_s"] * 61 * 4e-6
    tap.check(abs(line["input"]["mb_per_s"] / rate - 1) < 1e-4, "the rate is the tokens' bytes", (line, rate))

    run = os.path.join(path, "stopped")
    for ranks in (2, 3, 1):
        status, out, err = program.run(ranks, "train", settings, "-s", f"output={run}", "-s", "train.max_minutes=1e-9")
        tap.check(status == 75, f"a stop on {ranks} ranks while the next batch is on its way", out + err)
    status, out, err = program.run(2, "train", settings, "-s", f"output={run}")
    whole = trained.run_facts(os.path.join(path, "run-1-False-0"))
    tap.check(status == 0 and trained.run_facts(run)["state_checksum"] == whole["state_checksum"],
              "the run that goes on ends with the same bits", out + err)

with program.Directory() as path:
    rows = trained.planted_rows(1500, 45)
    program.write_store(os.path.join(path, "store.h5"), rows, gradients=np.sin(rows))
    settings = trained.write_config(path, model__select="gradient", train__eval_steps=0)
    check_bits(path, settings, "gradient")

with program.Directory() as path:
    trained.make_store(path, 2000, 45)
    with h5py.File(os.path.join(path, "store.h5"), "r+") as file:
        file["activations/test"][1401, 3] = np.nan
    settings = trained.write_config(path, train__sample=100, train__eval_steps=0, model__latents=64)
    outcomes = {(ranks, ahead): train(path, settings, ranks, ahead) for ranks in (1, 2, 3) for ahead in (False, True)}
    status, err, lines, facts = outcomes[1, False]
    tap.check(status == 2 and "row 1401" in err and 1 <= len(lines) < 13, "a bad row is met after some steps", (err, len(lines)))
    for (ranks, ahead), (status, other, these, about) in outcomes.items():
        tap.check(status == 2 and these == lines and other.count("hpsae: error:") == 1 and "row 1401" in other and
                  "store.h5" in other, f"{ranks} ranks, ahead {ahead}: it fails the step that uses it", other)
    enough = len(lines) * 150
    status, err, _, facts = train(path, settings, 2, True, "-s", f"train.tokens={enough}")
    tap.check(status == 0 and facts["status"] == "complete", "a run that ends before it never knows", err)
tap.done()
