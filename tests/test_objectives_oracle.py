#!/usr/bin/python3
# seconds: 600
"""For every selection with every objective that goes with it, the program's step equals the oracle's, to float32
rounding, over 20 steps; AuxK takes part in all of them, clip, averages, annealed k and scaled inputs in some.

tests/oracle/steps.py says how.  Prefixes that the program draws are found by the loss that it logs, and then have to
give the gradient too; over many steps they follow the distribution that they are meant to have.
"""
import os
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import slots as choice
import steps
import tap
import trained

AUX = {"train__aux__k": 8, "train__aux__dead_tokens": 192}
ANNEALED = {"train__k_start": 9, "train__k_steps": 8}
FEW = {"model__k": 2, "train__aux__dead_tokens": 96}  # for a batch's latents leave few others
PREFIXES = {"train__matryoshka__prefixes": [3, 10, 30, 70]}

# selection, objective, what else is configured
TABLE = [
    ("topk", "plain", ANNEALED),
    ("topk", "multi_topk", {"train__clip": 0.05}),
    ("topk", "multi_topk", {"train__multi__factor": 2, "train__multi__weight": 1.5, **ANNEALED}),
    ("topk", "hierarchical", {"train__ema": 0.9}),
    ("topk", "hierarchical", {"train__hierarchical__levels": [1, 3, 4], "data__scale": "token"}),
    ("topk", "hierarchical", ANNEALED),
    ("topk", "matryoshka", {"data__scale": "dataset"}),
    ("topk", "matryoshka", {"train__matryoshka__random": 3, "train__clip": 0.05}),
    ("batch_topk", "plain", {"train__threshold__start_step": 5, "train__threshold__decay": 0.75, "train__clip": 0.05,
                             **FEW}),
    ("batch_topk", "plain", {"train__ema": 0.9, "data__scale": "dataset", "train__k_start": 1, "train__k_steps": 8,
                             **FEW}),
    ("batch_topk", "matryoshka", {"train__threshold__start_step": 0, "train__ema": 0.9, **PREFIXES, **FEW}),
    ("gradient", "plain", {"data__scale": "dataset"}),
    ("gradient", "multi_topk", {"model__alpha": 0.5, "model__beta": 3, "train__clip": 0.05}),
    ("gradient", "hierarchical", {"model__beta": 2, "train__ema": 0.9}),
    ("gradient", "matryoshka", {"model__beta": 0.3, **PREFIXES, **ANNEALED}),
    ("gradient", "matryoshka", {"train__matryoshka__random": 3, "train__matryoshka__smallest": 5}),
]


def check_pairs():
    for number, (select, objective, more) in enumerate(TABLE):
        name = f"{number + 1}. {select} with {objective}"
        tap.note(f"{name}: " + ", ".join(f"{key.replace('__', '.')} {value}" for key, value in more.items()))
        keys = {"model__select": select, "train__objective": objective, **AUX, **more}
        steps.check(steps.Case(name, 1 + number % 3, keys, aux_steps=5))


def drawn_prefixes(count, smallest, draws, ranks=1, k=40, **more):
    """The prefixes of many steps at unchanging parameters, as sorted lists without n."""
    keys = {"train__objective": "matryoshka", "train__matryoshka__random": count, "model__k": k,
            "train__matryoshka__smallest": smallest, **more}
    case = steps.Case(f"{count} drawn prefixes, k {k}, {ranks} ranks", ranks, keys)
    x = steps.scaled_rows(case)
    with program.Directory() as directory:
        program.write_store(os.path.join(directory, "store.h5"), steps.ROWS)
        run = steps.train(directory, case, "run", steps=draws, lr=1e-30, train__checkpoint__every_steps=0)
        if run is None:
            return []
        params = program.read_state(program.checkpoint_path(run, draws)).value
        losses = steps.prefix_losses(params, x, steps.options_of(case, x))
        found = [steps.find_prefixes(losses, count, line["loss"]) for line in trained.lines(run)]
    worst = max(error for _, error in found)
    tap.check(worst < steps.LOGGED, f"{case.name}: each step's loss is that of some prefixes", worst)
    return [prefixes[:-1] for prefixes, _ in found]


def check_drawn():
    """One length beside n has exactly the stated distribution (Kolmogorov and Smirnov, 1 in 100)."""
    smallest, draws = 6, 600
    drawn = drawn_prefixes(2, smallest, draws)
    lengths = np.array(drawn, dtype=np.int64).reshape(-1)
    if not tap.check(len(lengths) == draws and lengths.min() >= smallest and lengths.max() < steps.N,
                     "drawn prefixes: from the smallest to below n", lengths):
        return
    counts = np.bincount(lengths, minlength=steps.N)[smallest:]
    distance = np.abs(np.cumsum(counts) / draws - choice.prefix_distribution(steps.N, smallest)).max()
    tap.note(f"drawn prefixes: distance to the distribution {distance:.3g}, allowed {1.63 / draws**0.5:.3g}")
    tap.check(distance < 1.63 / draws**0.5, "drawn prefixes: they have the stated distribution", distance)
    tap.check(drawn_prefixes(2, smallest, 40, ranks=3, k=50, data__scale="token") == drawn[:40],
              "drawn prefixes: the same for the same seed, whatever else differs")
    tap.check(drawn_prefixes(2, smallest, 40, train__seed=8) != drawn[:40], "drawn prefixes: others for another seed")
    several = drawn_prefixes(3, 1, 60)
    tap.check(len(set(several)) > 30 and all(0 < a < b < steps.N for a, b in several),
              "drawn prefixes: several are distinct, and others at each step", several)


check_pairs()
check_drawn()
tap.done()
