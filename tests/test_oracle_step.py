#!/usr/bin/python3
"""The program's training step equals the oracle's, to float32 rounding, over 20 steps from the same parameters.

The store has exactly one batch of training rows, so that every step sees all of them; their order in the batch does not
matter beyond rounding.  A checkpoint after every step shows the program's state.  Two comparisons:

step by step  The oracle takes one step from the program's own state.  Its gradient is compared with the one that Adam's
              first moment reveals, g = (m' - beta1 m) / (1 - beta1); its new state with the program's.
trajectory    The oracle trains by itself from the initial parameters for all the steps.
"""
import os
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "analysis"))
import program
import run_files
import sae
import slots as choice
import tap

D, N, K, BATCH, HOLDOUT, STEPS, LR = 45, 70, 4, 96, 8, 20, 3e-3
# Tolerances, in units of a tensor's largest entry; float32 rounds to 6e-8.  A gradient sums up to BATCH products and is
# read off a moment ten times its size; values are off by the rounding of one update, or of all of them in a trajectory.
GRADIENT, ROUNDING, LOGGED, TRAJECTORY, INITIAL = 5e-6, 5e-7, 1e-6, 5e-6, 2e-6

CASES = [
    {"name": "plain", "ranks": 1, "scale": "none", "clip": 0, "ema": 0, "aux": 0, "dead": 10_000_000},
    {"name": "dataset, AuxK, clip", "ranks": 2, "scale": "dataset", "clip": 0.05, "ema": 0, "aux": 8, "dead": 192},
    {"name": "token, AuxK, average", "ranks": 3, "scale": "token", "clip": 0, "ema": 0.9, "aux": 8, "dead": 96},
]


def make_rows(seed):
    """Sparse mixtures of planted directions, off centre, with noise."""
    rng = np.random.default_rng(seed)
    directions = sae.unit_rows(rng.normal(size=(2 * D, D)))
    codes = (rng.random((BATCH + HOLDOUT, 2 * D)) < 0.05) * rng.uniform(1, 3, size=(BATCH + HOLDOUT, 2 * D))
    return (codes @ directions + 0.1 * rng.normal(size=(BATCH + HOLDOUT, D)) + 0.5).astype(np.float32)


ROWS = make_rows(11)
TRAINED = slice(0, BATCH)


def write_config(directory, case, output, lr, steps):
    text = f"""output: {output}
data: {{store: {directory}/store.h5, holdout: {HOLDOUT}, scale: {case["scale"]}}}
model: {{latents: {N}, k: {K}}}
train:
  tokens: {steps * BATCH}
  batch: {BATCH}
  lr: {lr}
  warmup_steps: 4
  decay: 0.25
  clip: {case["clip"]}
  ema: {case["ema"]}
  seed: 7
  sample: 65536
  aux: {{k: {case["aux"]}, dead_tokens: {case["dead"]}}}
  checkpoint: {{every_minutes: 0, every_steps: 1, keep: 1000}}
  log_steps: 1
  eval_steps: 0
"""
    path = os.path.join(directory, os.path.basename(output) + ".yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def train(directory, case, name, lr=LR, steps=STEPS):
    """Trains and returns the run's directory, or None."""
    output = os.path.join(directory, name)
    status, out, err = program.run(case["ranks"], "train", write_config(directory, case, output, lr, steps))
    if not tap.check(status == 0, f"{case['name']}: {name} ends with status 0", f"status {status}\n{out}\n{err}"):
        return None
    return output


def initial_state(directory, case):
    """The parameters before the first step: what a step leaves of them whose lr is below their rounding."""
    run = train(directory, case, "initial", lr=1e-30, steps=1)
    if run is None:
        return None
    return sae.State.start(program.read_state(program.checkpoint_path(run, 1)).value)


def options_of(case, x):
    V = np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1))
    return sae.Options(k=K, V=V, lr=LR, steps=STEPS, warmup_steps=4, decay=0.25, clip=case["clip"], ema=case["ema"],
                       aux_k=case["aux"], dead_tokens=case["dead"], beta1=float(np.float32(0.9)),
                       beta2=float(np.float32(0.999)))


def difference(ours, theirs):
    """Largest difference of two Params over each tensor, in units of the tensor's largest entry: (worst, tensor)."""
    def of(name):
        a, b = getattr(ours, name), getattr(theirs, name)
        return np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)
    return max((of(name), name) for name in sae.TENSORS)


class Worst:
    """The worst difference of each kind over the steps, checked at the end against its tolerance."""

    def __init__(self, case):
        self.case, self.seen = case["name"], {}

    def add(self, kind, tolerance, size, where):
        if size >= self.seen.get(kind, (-1,))[0]:
            self.seen[kind] = (size, tolerance, where)

    def check(self):
        for kind, (size, tolerance, where) in self.seen.items():
            tap.note(f"{self.case}: {kind}: worst difference {size:.2g} at {where}")
            tap.check(size <= tolerance, f"{self.case}: {kind} within {tolerance:g}", f"{size:.3g} at {where}")


def compare_step(worst, before, after, x, options):
    """One step of the program against one step of the oracle from the same state."""
    step = after.step
    oracle = sae.State(before.value.copy(), before.moment1.copy(), before.moment2.copy(), before.average.copy(),
                       before.fired.copy(), before.tokens, before.step)
    log = sae.train_step(oracle, x, options)
    shown = after.moment1.map(lambda new, old: (new - options.beta1 * old) / (1 - options.beta1), before.moment1)
    size, tensor = difference(shown, log["gradient"])
    worst.add("gradient", GRADIENT, size, f"step {step}, {tensor}")
    size, tensor = difference(after.moment2, oracle.moment2)
    worst.add("second moment", GRADIENT, size, f"step {step}, {tensor}")

    moved = sae.State(before.value, after.moment1, after.moment2, before.average, before.fired, 0, step)
    sae.move(moved, log["lr"], options)
    size, tensor = difference(after.value, moved.value)
    worst.add("values from the moments", ROUNDING, size, f"step {step}, {tensor}")
    if options.ema > 0:
        expected = sae.averaged(before.average, after.value, options.ema, step)
        size, tensor = difference(after.average, expected)
        worst.add("average", ROUNDING, size, f"step {step}, {tensor}")
    worst.add("latents counted as fired otherwise", 0, int(np.sum(after.fired != oracle.fired)), f"step {step}")
    return log


def compare_log(worst, line, log, n):
    """What metrics.jsonl says of a step against the oracle's figures."""
    for key, expected in (("fvu", log["fvu"]), ("l0", log["l0"]), ("lr", log["lr"]), ("grad_norm", log["grad_norm"]),
                          ("dead", log["dead"] / n)):
        size = abs(line[key] - expected) / max(abs(expected), 1e-30)
        worst.add(f"metrics.jsonl {key}", LOGGED, size, f"step {line['step']}")


def check_initial(case, params, x):
    """Unit rows, the encoder a multiple of the decoder that keeps the mean norm about b, b the geometric median."""
    alpha = np.mean(np.linalg.norm(params.W_enc, axis=1))
    slots = choice.plain(choice.top_k(sae.preactivations(params, x), K))
    rebuilt = np.mean(np.linalg.norm(sae.reconstruct(params, x, slots) - params.b_dec, axis=1))
    distance = np.linalg.norm(x - params.b_dec, axis=1)
    pull = np.linalg.norm(np.mean((x - params.b_dec) / distance[:, None], axis=0))
    for what, error in (("decoder rows of unit length", np.abs(np.linalg.norm(params.W_dec, axis=1) - 1).max()),
                        ("encoder a multiple of the decoder", np.abs(params.W_enc / alpha - params.W_dec).max()),
                        ("b_enc zero", np.abs(params.b_enc).max()),
                        ("reconstructions of the inputs' mean norm about b", np.abs(rebuilt / distance.mean() - 1)),
                        ("b the geometric median: mean of the unit vectors to it", pull)):
        tap.check(error < INITIAL, f"{case['name']}: at the start: {what}", f"{error:.3g}")


def test_case(case):
    x = sae.scale_rows(ROWS[TRAINED], case["scale"], np.mean(np.sum(ROWS.astype(np.float64) ** 2, axis=1)))
    options = options_of(case, x)
    worst, aux_steps, gap = Worst(case), 0, np.inf
    with program.Directory() as directory:
        program.write_store(os.path.join(directory, "store.h5"), ROWS)
        before, run = initial_state(directory, case), train(directory, case, "run")
        if before is None or run is None:
            return
        check_initial(case, before.value, x)
        lines = {line["step"]: line for line in run_files.read_metrics(run)}
        trajectory = sae.State.start(before.value)
        for step in range(1, STEPS + 1):
            after = program.read_state(program.checkpoint_path(run, step))
            log = compare_step(worst, before, after, x, options)
            compare_log(worst, lines[step], log, N)
            own = sae.train_step(trajectory, x, options)
            gap, aux_steps = min(gap, log["gap"], own["gap"]), aux_steps + (own["aux_fvu"] > 0)
            before = after
        size, tensor = difference(before.value, trajectory.value)
        worst.add("trajectory", TRAJECTORY, size, tensor)
        worst.add("trajectory: latents that fired otherwise", 0, int(np.sum(before.fired != trajectory.fired)), "end")
    tap.check(gap > 4 * ROUNDING, f"{case['name']}: no selection hangs on rounding", f"gap {gap:.3g}")
    tap.check((aux_steps >= 5) == (case["aux"] > 0), f"{case['name']}: AuxK took part as meant", f"{aux_steps} steps")
    worst.check()


for one in CASES:
    test_case(one)
tap.done()
