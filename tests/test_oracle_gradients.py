#!/usr/bin/python3
"""The oracle's gradients equal central finite differences of its loss to 1e-6, for every parameter.

With selection, slot order and AuxK's target held fixed, the loss is a quadratic polynomial in any one parameter, so
central differences have no truncation error and may take a wide step; gaps keep every value's sign on that step.
Tensors are compared whole: the largest difference over the largest entry.
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import tap
import topk_sae as sae

STEP = 1e-4


def problem(seed, B=13, d=9, n=17):
    rng = np.random.default_rng(seed)
    params = sae.Params(rng.normal(size=(n, d)) / 3, rng.normal(size=n) / 10,
                        sae.unit_rows(rng.normal(size=(n, d))), rng.normal(size=d) / 5)
    return params, rng.normal(size=(B, d)) + 0.3, rng


def differences(loss, params):
    """Central finite differences of loss(params) in every number of every tensor."""
    result = params.zeros()
    for name in sae.TENSORS:
        values, slopes = getattr(params, name), getattr(result, name)
        for index in np.ndindex(values.shape):
            old = values[index]
            values[index] = old + STEP
            high = loss(params)
            values[index] = old - STEP
            slopes[index] = (high - loss(params)) / (2 * STEP)
            values[index] = old
    return result


def compare(label, gradient, expected):
    for name in sae.TENSORS:
        g, f = getattr(gradient, name), getattr(expected, name)
        error = np.abs(g - f).max() / np.abs(f).max()
        tap.check(error < 1e-6, f"{label}: {name}", f"relative difference {error:.3g}")


def gradients_of(label, params, x, V, slots, aux=None):
    for part in (slots,) if aux is None else (slots, aux.slots):
        gap = np.abs(sae.slot_preactivations(params, x, part)).min()
        tap.check(gap > STEP * 10, f"{label}: no value changes its sign on the way", f"gap {gap:.3g}")
    expected = differences(lambda p: sae.batch_loss(p, x, V, slots, aux)[0], params)
    compare(label, sae.batch_gradient(params, x, V, slots, aux), expected)


def test_plain():
    params, x, _ = problem(1)
    slots = sae.plain(sae.top_k(sae.preactivations(params, x), 4))
    gradients_of("plain", params, x, 2.5, slots)


def test_inactive_slots():
    """k so large that some selected pre-activations are negative: those slots have value and gradient 0."""
    params, x, _ = problem(2)
    slots = sae.plain(sae.top_k(sae.preactivations(params, x), 14))
    negative = np.sum(sae.slot_preactivations(params, x, slots) < 0)
    tap.check(negative > 20, "inactive slots: there are some", f"{negative}")
    gradients_of("inactive slots", params, x, 2.5, slots)


def test_aux():
    params, x, _ = problem(3)
    slots = sae.plain(sae.top_k(sae.preactivations(params, x), 4))
    dead = np.arange(17) % 3 == 0
    aux = sae.choose_aux(params, x, slots, dead, 3, 1 / 32)
    tap.check(dead[aux.slots.latent].all(), "aux: only dead latents are selected")
    gradients_of("aux", params, x, 2.5, slots, aux)
    # Once more with a coefficient at which AuxK outweighs the rest, so that no error hides behind the main loss.
    gradients_of("aux alone", params, x, 1e9, slots, sae.choose_aux(params, x, slots, dead, 3, 1.0))


def test_nested():
    """Any order of the slots and any weights, the bias alone included."""
    params, x, rng = problem(4)
    latent = rng.permuted(sae.top_k(sae.preactivations(params, x), 6), axis=1)
    weights = rng.random((len(x), 7))
    weights /= weights.sum(axis=1, keepdims=True)
    gradients_of("nested", params, x, 2.5, sae.Slots(latent, weights[:, 1:], weights[:, 0]))


def test_selection():
    p = np.array([[1.0, 3.0, 3.0, -1.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    tap.check(sae.top_k(p, 2).tolist() == [[1, 2], [0, 1]], "ties go to the lower latent", sae.top_k(p, 2))
    tap.check(sae.top_k(p, 4).tolist() == [[1, 2, 4, 0], [0, 1, 2, 3]], "largest first", sae.top_k(p, 4))


def test_projection():
    """After the projection a decoder row's gradient is orthogonal to the row; the other tensors are untouched."""
    params, x, _ = problem(5)
    gradient = sae.batch_gradient(params, x, 2.5, sae.plain(sae.top_k(sae.preactivations(params, x), 4)))
    free = sae.project(gradient, params)
    along = np.abs(np.sum(free.W_dec * params.W_dec, axis=1)).max() / np.abs(gradient.W_dec).max()
    tap.check(along < 1e-14, "projection: orthogonal to the row", f"{along:.3g}")
    tap.check(np.array_equal(free.W_enc, gradient.W_enc) and np.array_equal(free.b_dec, gradient.b_dec),
              "projection: nothing else changes")


def test_descent():
    """Twenty steps with everything switched on lower the loss and keep unit rows."""
    params, x, _ = problem(6, B=32)
    options = sae.Options(k=4, V=2.5, lr=0.02, steps=20, warmup_steps=3, clip=0.5, ema=0.9, aux_k=4, dead_tokens=64)
    state = sae.State.start(params)
    logs = [sae.train_step(state, x, options) for _ in range(options.steps)]
    tap.check(logs[-1]["fvu"] < 0.7 * logs[0]["fvu"], "descent: the loss falls", [log["fvu"] for log in logs])
    tap.check(any(log["aux"] > 0 for log in logs), "descent: AuxK took part")
    error = np.abs(np.linalg.norm(state.value.W_dec, axis=1) - 1).max()
    tap.check(error < 1e-14, "descent: rows of unit length", f"{error:.3g}")
    tap.check(state.tokens == 640 and state.step == 20, "descent: tokens and steps counted")


test_plain()
test_inactive_slots()
test_aux()
test_nested()
test_selection()
test_projection()
test_descent()
tap.done()
