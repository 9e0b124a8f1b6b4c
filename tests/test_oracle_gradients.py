#!/usr/bin/python3
"""The oracle's gradients equal central finite differences of its loss to 1e-6, for every parameter and for every
selection and objective.

With selection, slot order and AuxK's target held fixed, the loss is a quadratic polynomial in any one parameter, so
central differences have no truncation error and may take a wide step; gaps keep every value's sign on that step.  For
the selections and objectives the slots are chosen anew at every point: gaps between the scores keep them the same on
the way, and what depends on the parameters through the choice alone has no gradient.
Tensors are compared whole: the largest difference over the largest entry.
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import sae
import slots as choice
import tap

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
    slots = choice.plain(choice.top_k(sae.preactivations(params, x), 4))
    gradients_of("plain", params, x, 2.5, slots)


def test_inactive_slots():
    """k so large that some selected pre-activations are negative: those slots have value and gradient 0."""
    params, x, _ = problem(2)
    slots = choice.plain(choice.top_k(sae.preactivations(params, x), 14))
    negative = np.sum(sae.slot_preactivations(params, x, slots) < 0)
    tap.check(negative > 20, "inactive slots: there are some", f"{negative}")
    gradients_of("inactive slots", params, x, 2.5, slots)


def test_aux():
    params, x, _ = problem(3)
    slots = choice.plain(choice.top_k(sae.preactivations(params, x), 4))
    dead = np.arange(17) % 3 == 0
    aux = sae.choose_aux(params, x, slots, dead, 3, 1 / 32)
    tap.check(dead[aux.slots.latent].all(), "aux: only dead latents are selected")
    gradients_of("aux", params, x, 2.5, slots, aux)
    # Once more with a coefficient at which AuxK outweighs the rest, so that no error hides behind the main loss.
    gradients_of("aux alone", params, x, 1e9, slots, sae.choose_aux(params, x, slots, dead, 3, 1.0))


def test_nested():
    """Any order of the slots and any weights, the bias alone included."""
    params, x, rng = problem(4)
    latent = rng.permuted(choice.top_k(sae.preactivations(params, x), 6), axis=1)
    weights = rng.random((len(x), 7))
    weights /= weights.sum(axis=1, keepdims=True)
    gradients_of("nested", params, x, 2.5, choice.Slots(latent, weights[:, 1:], weights[:, 0]))


def pair_problem(case, aux):
    """A problem whose scores are far enough from another choice: (params, x, g, options, aux)."""
    options = sae.Options(k=3, V=2.5, lr=0, steps=1, **case)
    for seed in range(200):
        params, x, rng = problem(seed, B=7)
        g = rng.normal(size=x.shape) / np.sqrt(x.shape[1])
        slots, gap = sae.choose_slots(params, x, options, options.k, g)
        dead = np.arange(17) % 3 == 0
        held = sae.choose_aux(params, x, slots, dead, 3, 1 / 32) if aux else None
        if held is not None:
            gap = min(gap, np.abs(sae.slot_preactivations(params, x, held.slots)).min())
        if gap > 20 * STEP:
            return params, x, g, options, held
    raise AssertionError(f"no problem with gaps for {case}")


PAIRS = [{"select": select, **objective} for select in ("topk", "gradient", "batch_topk") for objective in (
    {"objective": "plain"},
    {"objective": "matryoshka", "prefixes": (2, 5, 11, 17)},
    {"objective": "matryoshka", "prefixes": (1, 17)},
    {"objective": "multi_topk", "multi_factor": 3, "multi_weight": 0.5},
    {"objective": "hierarchical"},
    {"objective": "hierarchical", "levels": (1, 3)},
) if select != "batch_topk" or objective["objective"] in ("plain", "matryoshka")]


def test_pairs():
    for number, case in enumerate(PAIRS):
        params, x, g, options, aux = pair_problem(case, aux=number % 2 == 0)
        slots, _ = sae.choose_slots(params, x, options, options.k, g)
        label = ", ".join(str(value) for value in case.values())

        def loss(p, x=x, g=g, options=options, aux=aux):
            return sae.batch_loss(p, x, options.V, sae.choose_slots(p, x, options, options.k, g)[0], aux)[0]

        compare(label, sae.batch_gradient(params, x, options.V, slots, aux), differences(loss, params))
        total = slots.weight.sum(axis=1) + slots.weight0
        tap.check(np.abs(total - 1).max() < 1e-12, f"{label}: a token's weights sum to 1", total)


def test_selection():
    p = np.array([[1.0, 3.0, 3.0, -1.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    tap.check(choice.top_k(p, 2).tolist() == [[1, 2], [0, 1]], "ties go to the lower latent", choice.top_k(p, 2))
    tap.check(choice.top_k(p, 4).tolist() == [[1, 2, 4, 0], [0, 1, 2, 3]], "largest first", choice.top_k(p, 4))


def test_batch_selection():
    """Five values of four tokens: ties by token, then latent; a token may have none, or all."""
    p = np.array([[1.0, 5.0, 2.0], [-1.0, 0.0, -3.0], [2.0, 4.0, 2.0], [2.0, 1.0, 1.0]])
    latent, used, _ = choice.of_batch(p, 1)
    mine = [row[mask].tolist() for row, mask in zip(latent, used)]
    tap.check(mine == [[1, 2], [], [1, 0], []], "batch: the 4 largest, ties by token, then latent", mine)
    latent, used, _ = choice.of_batch(p, 3)
    mine = [row[mask].tolist() for row, mask in zip(latent, used)]
    tap.check(mine == [[1, 2, 0], [], [1, 0, 2], [0, 1, 2]], "batch: no value that is not positive", mine)


def test_objectives():
    """Weights and orders of small cases, written out."""
    latent, used = np.array([[6, 1, 4, 0]]), np.array([[True, True, True, False]])
    slots = choice.matryoshka(latent, used, (1, 2, 5, 8))
    tap.check(slots.latent[0, :3].tolist() == [1, 4, 6] and slots.weight.tolist() == [[0.25, 0.25, 0.25, 0]] and
              slots.weight0.tolist() == [0.25], "matryoshka: by latent; an empty prefix counts on the bias", slots)
    slots = choice.multi_top_k(latent, used, 1, 0.125)
    tap.check(np.allclose(slots.weight, [[8 / 9, 0, 0, 1 / 9]]) and slots.code == 1, "multi-TopK: 8/9 and 1/9", slots)
    slots = choice.hierarchical(latent, used, (2, 4))
    tap.check(slots.weight.tolist() == [[0, 0.5, 0, 0.5]], "hierarchical: the mean over the levels", slots)
    tap.check(choice.default_prefixes(65536) == [2048, 6144, 14336, 30720, 65536], "matryoshka: the paper's sizes")
    ks = [choice.annealed_k(3, 8, 4, step) for step in range(6)]
    tap.check(ks == [8, 7, 6, 4, 3, 3], "annealing: halves go up, then it stays", ks)


def test_gradient_score():
    """A latent of lesser value wins by its effect; beta = 0 is the value."""
    p, W, g = np.array([[2.0, 1.0, -3.0]]), np.array([[1.0, 0], [0, 1.0], [0, 1.0]]), np.array([[0.0, -4.0]])
    score = choice.gradient_score(p, W, g, 1.0, 1.0)
    tap.check(score.tolist() == [[2.0, 5.0, -15.0]], "gradient: z (alpha + beta |<w, g>|)", score)
    tap.check(np.array_equal(choice.gradient_score(p, W, g, 1.0, 0.0), p), "gradient: beta = 0 is the value")


def test_projection():
    """After the projection a decoder row's gradient is orthogonal to the row; the other tensors are untouched."""
    params, x, _ = problem(5)
    gradient = sae.batch_gradient(params, x, 2.5, choice.plain(choice.top_k(sae.preactivations(params, x), 4)))
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
    tap.check(any(log["aux_fvu"] > 0 for log in logs), "descent: AuxK took part")
    error = np.abs(np.linalg.norm(state.value.W_dec, axis=1) - 1).max()
    tap.check(error < 1e-14, "descent: rows of unit length", f"{error:.3g}")
    tap.check(state.tokens == 640 and state.step == 20, "descent: tokens and steps counted")


test_plain()
test_inactive_slots()
test_aux()
test_nested()
test_pairs()
test_selection()
test_batch_selection()
test_objectives()
test_gradient_score()
test_projection()
test_descent()
tap.done()
