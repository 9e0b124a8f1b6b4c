#!/usr/bin/python3
"""The program's training step equals the oracle's, to float32 rounding, over 20 steps from the same parameters, and the
parameters before the first step are what they should be; tests/oracle/steps.py says how."""
import os
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import sae
import slots as choice
import steps
import tap

INITIAL = 2e-6

CASES = [
    steps.Case("plain", 1, {}),
    steps.Case("dataset, AuxK, clip", 2, {"data__scale": "dataset", "train__clip": 0.05, "train__aux__k": 8,
                                          "train__aux__dead_tokens": 192}, aux_steps=5),
    steps.Case("three data groups, AuxK, clip", 6, {"train__groups": 3, "train__clip": 0.05, "train__aux__k": 8,
                                                    "train__aux__dead_tokens": 192}, aux_steps=5),
    steps.Case("token, AuxK, average", 3, {"data__scale": "token", "train__ema": 0.9, "train__aux__k": 8,
                                           "train__aux__dead_tokens": 96}, aux_steps=5),
]


def check_initial(case, params, x):
    """Unit rows, the encoder a multiple of the decoder that keeps the mean norm about b, b the geometric median."""
    alpha = np.mean(np.linalg.norm(params.W_enc, axis=1))
    slots = choice.plain(choice.top_k(sae.preactivations(params, x), steps.K))
    rebuilt = np.mean(np.linalg.norm(sae.reconstruct(params, x, slots) - params.b_dec, axis=1))
    distance = np.linalg.norm(x - params.b_dec, axis=1)
    pull = np.linalg.norm(np.mean((x - params.b_dec) / distance[:, None], axis=0))
    for what, error in (("decoder rows of unit length", np.abs(np.linalg.norm(params.W_dec, axis=1) - 1).max()),
                        ("encoder a multiple of the decoder", np.abs(params.W_enc / alpha - params.W_dec).max()),
                        ("b_enc zero", np.abs(params.b_enc).max()),
                        ("reconstructions of the inputs' mean norm about b", np.abs(rebuilt / distance.mean() - 1)),
                        ("b the geometric median: mean of the unit vectors to it", pull)):
        tap.check(error < INITIAL, f"{case.name}: at the start: {what}", f"{error:.3g}")


def check_scale(scale):
    """train.encoder_scale as a number is the norm of the encoder's rows."""
    case = steps.Case(f"encoder_scale {scale}", 2, {"train__encoder_scale": scale}, aux_steps=0)
    with program.Directory() as directory:
        program.write_store(os.path.join(directory, "store.h5"), steps.ROWS)
        params = steps.initial_state(directory, case).value
    tap.check(np.abs(params.W_enc - scale * params.W_dec).max() < INITIAL, f"{case.name}: that much of the decoder")


for one in CASES:
    steps.check(one, check_initial)
check_scale(0.5)
tap.done()
