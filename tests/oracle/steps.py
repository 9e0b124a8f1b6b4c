"""Compares training steps of the program with the oracle's, from the same parameters, to float32 rounding.

The store has exactly one batch of training rows, so that every step sees all of them; their order in the batch does not
matter beyond rounding.  A checkpoint after every step shows the program's state.  Two comparisons:

step by step  The oracle takes one step from the program's own state.  Its gradient is compared with the one that Adam's
              first moment reveals, g = (m' - beta1 m) / (1 - beta1); its new state with the program's.
trajectory    The oracle trains by itself from the initial parameters for all the steps.
"""
import dataclasses
import itertools
import os

import numpy as np

import program
import sae
import slots as choice
import tap
import trained

D, N, K, BATCH, HOLDOUT, STEPS, LR = 45, 70, 4, 96, 8, 20, 3e-3
# Tolerances, in units of a tensor's largest entry; float32 rounds to 6e-8.  A gradient sums up to BATCH products and is
# read off a moment ten times its size; values are off by the rounding of one update, or of all of them in a trajectory.
GRADIENT, ROUNDING, LOGGED, TRAJECTORY = 5e-6, 5e-7, 1e-6, 5e-6


# The oracle's option of each key that cases set.
OPTION = {
    "model__k": "k", "model__select": "select", "model__alpha": "alpha", "model__beta": "beta",
    "train__objective": "objective",
    "train__k_start": "k_start", "train__k_steps": "k_steps", "train__multi__factor": "multi_factor",
    "train__multi__weight": "multi_weight", "train__hierarchical__levels": "levels",
    "train__matryoshka__prefixes": "prefixes", "train__threshold__start_step": "threshold_start",
    "train__threshold__decay": "threshold_decay", "train__clip": "clip", "train__ema": "ema", "train__aux__k": "aux_k",
    "train__aux__dead_tokens": "dead_tokens",
}


@dataclasses.dataclass
class Case:
    """A run: on how many ranks, what is configured besides the defaults, in how many steps AuxK takes part at least."""

    name: str
    ranks: int
    keys: dict
    aux_steps: int = 0

    def __post_init__(self):
        self.scale = self.keys.get("data__scale", "none")
        self.gradients = self.keys.get("model__select") == "gradient"
        self.random_prefixes = self.keys.get("train__matryoshka__random", 0)


def make_rows(seed):
    """Sparse mixtures of planted directions, off centre, with noise."""
    rng = np.random.default_rng(seed)
    directions = sae.unit_rows(rng.normal(size=(2 * D, D)))
    codes = (rng.random((BATCH + HOLDOUT, 2 * D)) < 0.05) * rng.uniform(1, 3, size=(BATCH + HOLDOUT, 2 * D))
    return (codes @ directions + 0.1 * rng.normal(size=(BATCH + HOLDOUT, D)) + 0.5).astype(np.float32)


ROWS = make_rows(11)
GRADIENTS = (np.random.default_rng(12).normal(size=ROWS.shape) * 3e-3).astype(np.float32)
TRAINED = slice(0, BATCH)


def scaled_rows(case):
    return sae.scale_rows(ROWS[TRAINED], case.scale, np.mean(np.sum(ROWS.astype(np.float64) ** 2, axis=1)))


def options_of(case, x):
    V = np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1))
    given = {OPTION[key]: value for key, value in case.keys.items() if key in OPTION}
    return sae.Options(**{"k": K, "V": V, "lr": LR, "steps": STEPS, "warmup_steps": 4, "decay": 0.25,
                          "beta1": float(np.float32(0.9)), "beta2": float(np.float32(0.999)),
                          "prefixes": choice.default_prefixes(N), **given})


def train(directory, case, name, steps=STEPS, lr=LR, **keys):
    """Trains and returns the run's directory, or None."""
    output = os.path.join(directory, name)
    config = trained.write_config(directory, **{
        "output": output, "data__holdout": HOLDOUT, "data__scale": "none", "model__latents": N, "model__k": K,
        "train__tokens": steps * BATCH, "train__batch": BATCH, "train__lr": lr, "train__warmup_steps": 4,
        "train__decay": 0.25, "train__encoder_scale": "auto", "train__seed": 7, "train__sample": 65536, "train__aux__k": 0,
        "train__aux__dead_tokens": 10_000_000,
        "train__checkpoint__every_steps": 1,
        "train__checkpoint__keep": 1000, "train__log_steps": 1, "train__eval_steps": 0, **case.keys, **keys})
    status, out, err = program.run(case.ranks, "train", config)
    if not tap.check(status == 0, f"{case.name}: {name} ends with status 0", f"status {status}\n{out}\n{err}"):
        return None
    return output


def initial_state(directory, case):
    """The parameters before the first step: what a step leaves of them whose lr is below their rounding."""
    run = train(directory, case, "initial", steps=1, lr=1e-30)
    if run is None:
        return None
    return sae.State.start(program.read_state(program.checkpoint_path(run, 1)).value)


def difference(ours, theirs):
    """Largest difference of two Params over each tensor, in units of the tensor's largest entry: (worst, tensor)."""
    def of(name):
        a, b = getattr(ours, name), getattr(theirs, name)
        return np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)
    return max((of(name), name) for name in sae.TENSORS)


class Worst:
    """The worst difference of each kind over the steps, checked at the end against its tolerance."""

    def __init__(self, name):
        self.name, self.seen = name, {}

    def add(self, kind, tolerance, size, where):
        if not size < self.seen.get(kind, (-1,))[0]:
            self.seen[kind] = (size, tolerance, where)

    def check(self):
        for kind, (size, tolerance, where) in self.seen.items():
            tap.note(f"{self.name}: {kind}: worst difference {size:.2g} at {where}")
            tap.check(size <= tolerance, f"{self.name}: {kind} within {tolerance:g}", f"{size:.3g} at {where}")


def compare_step(worst, before, after, x, options, g=None):
    """One step of the program against one step of the oracle from the same state."""
    step = after.step
    oracle = dataclasses.replace(before, fired=before.fired.copy())
    log = sae.train_step(oracle, x, options, g)
    shown = after.moment1.map(lambda new, old: (new - options.beta1 * old) / (1 - options.beta1), before.moment1)
    size, tensor = difference(shown, log["gradient"])
    worst.add("gradient", GRADIENT, size, f"step {step}, {tensor}")
    size, tensor = difference(after.moment2, oracle.moment2)
    worst.add("second moment", GRADIENT, size, f"step {step}, {tensor}")

    moved = dataclasses.replace(before, moment1=after.moment1, moment2=after.moment2, step=step)
    sae.move(moved, log["lr"], options)
    size, tensor = difference(after.value, moved.value)
    worst.add("values from the moments", ROUNDING, size, f"step {step}, {tensor}")
    if options.ema > 0:
        expected = sae.averaged(before.average, after.value, options.ema, step)
        size, tensor = difference(after.average, expected)
        worst.add("average", ROUNDING, size, f"step {step}, {tensor}")
    worst.add("latents counted as fired otherwise", 0, int(np.sum(after.fired != oracle.fired)), f"step {step}")
    if (oracle.threshold is None) != (after.threshold is None):
        worst.add("threshold", LOGGED, np.inf, f"step {step}")
    elif oracle.threshold is not None:
        worst.add("threshold", LOGGED, abs(after.threshold / oracle.threshold - 1), f"step {step}")
    return log


def compare_log(worst, line, log):
    """What metrics.jsonl says of a step against the oracle's figures."""
    for key in ("loss", "fvu", "aux_fvu", "l0", "lr", "grad_norm", "dead"):
        expected = log[key] / N if key == "dead" else log[key]
        size = abs(line[key] - expected) / max(abs(expected), 1e-30) if key in line else np.inf
        worst.add(f"metrics.jsonl {key}", LOGGED, size, f"step {line['step']}")


def prefix_losses(params, x, options, g=None):
    """The loss of the first m latents alone, m = 0 .. n."""
    slots, _ = sae.choose_slots(params, x, dataclasses.replace(options, objective="plain"), options.k, g)
    codes = np.zeros((len(x), len(params.b_enc)))
    z = sae.slot_values(params, x, slots)
    np.add.at(codes, (np.arange(len(x))[:, None], slots.latent), z)
    residual, losses = params.b_dec - x, []
    for m in range(len(params.b_enc) + 1):
        losses.append(np.mean(np.sum(residual**2, axis=1)) / options.V)
        if m < len(params.b_enc):
            residual = residual + codes[:, m, None] * params.W_dec[m]
    return np.array(losses)


def find_prefixes(losses, count, loss):
    """Which `count` prefixes, n among them, have this mean loss: (prefixes, relative difference)."""
    n = len(losses) - 1
    drawn = np.array(list(itertools.combinations(range(1, n), count - 1)))
    means = (losses[drawn].sum(axis=1) + losses[n]) / count
    best = np.argmin(np.abs(means - loss))
    return (*(int(m) for m in drawn[best]), n), abs(means[best] / loss - 1)


def options_of_step(worst, case, options, before, x, line, g):
    """The options with the prefixes that the program drew, found by the loss that it logged."""
    if not case.random_prefixes:
        return options
    losses = prefix_losses(before.value, x, options, g)
    prefixes, error = find_prefixes(losses, case.random_prefixes, line["loss"])
    worst.add("loss of some prefixes", LOGGED, error, f"step {line['step']}, {prefixes}")
    return dataclasses.replace(options, prefixes=prefixes)


def follow(case, before, states, lines, x, g=None):
    """Both comparisons; states and lines are the program's after each step."""
    options = options_of(case, x)
    worst, aux_steps, gap, trajectory = Worst(case.name), 0, np.inf, sae.State.start(before.value)
    for after, line in zip(states, lines):
        now = options_of_step(worst, case, options, before, x, line, g)
        log = compare_step(worst, before, after, x, now, g)
        compare_log(worst, line, log)
        own = sae.train_step(trajectory, x, now, g)
        gap, aux_steps = min(gap, log["gap"], own["gap"]), aux_steps + (own["aux_fvu"] > 0)
        before = after
    size, tensor = difference(before.value, trajectory.value)
    worst.add("trajectory", TRAJECTORY, size, tensor)
    worst.add("trajectory: latents that fired otherwise", 0, int(np.sum(before.fired != trajectory.fired)), "end")
    tap.check(gap > 4 * ROUNDING, f"{case.name}: no selection hangs on rounding", f"gap {gap:.3g}")
    tap.check(aux_steps >= case.aux_steps, f"{case.name}: AuxK took part as meant", f"{aux_steps} steps")
    worst.check()


def check(case, at_start=None):
    """Runs a case; at_start(case, params, x) looks at the parameters before the first step."""
    x = scaled_rows(case)
    g = GRADIENTS[TRAINED] / program.rms_norm(GRADIENTS) if case.gradients else None
    with program.Directory() as directory:
        program.write_store(os.path.join(directory, "store.h5"), ROWS, gradients=GRADIENTS if case.gradients else None)
        before, run = initial_state(directory, case), train(directory, case, "run")
        if before is None or run is None:
            return
        if at_start is not None:
            at_start(case, before.value, x)
        states = (program.read_state(program.checkpoint_path(run, step)) for step in range(1, STEPS + 1))
        follow(case, before, states, trained.lines(run), x, g)
