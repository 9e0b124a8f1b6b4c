"""The metrics of `hpsae eval` in NumPy and double precision, each from its definition.

Shapes: x [T, d] activations as they enter the model (already scaled), Z [T, n] codes, 0 where a latent is not selected, g
[T, d] gradients of the loss with respect to the activations as stored, which are x / scale.
"""
import numpy as np
import scipy.optimize

import sae
import slots


def by_rank(score, k, p):
    """Codes of the k largest positive scores of each row."""
    latent = slots.top_k(score, k)
    Z = np.zeros_like(p)
    np.put_along_axis(Z, latent, np.take_along_axis(p, latent, axis=1), axis=1)
    return np.maximum(Z, 0.0)


def above(p, threshold):
    """Codes of all pre-activations above a threshold."""
    return np.where(p > threshold, p, 0.0)


def rebuild(params, Z):
    return params.b_dec + Z @ params.W_dec


def explained(x, xhat):
    """ev = 1 - sum |x - xhat|^2 / sum |x - mu|^2, mu the mean of the same rows."""
    return 1 - np.sum((x - xhat) ** 2) / np.sum((x - x.mean(axis=0)) ** 2)


def explained_by_dimension(x, xhat):
    return np.mean(1 - np.sum((x - xhat) ** 2, axis=0) / np.sum((x - x.mean(axis=0)) ** 2, axis=0))


def reconstruction(params, x, Z, scale):
    xhat = rebuild(params, Z)
    ev = explained(x, xhat)
    return {"mse": np.mean(np.sum((x - xhat) ** 2, axis=1)) / scale**2, "fvu": 1 - ev, "ev": ev,
            "ev_dimmean": explained_by_dimension(x, xhat), "l0": np.mean(np.sum(Z > 0, axis=1)),
            "alive_eval": np.mean(np.any(Z > 0, axis=0))}


def curve(params, x, Z, sizes):
    """ev by the k' largest values of each row of Z alone."""
    return [explained(x, rebuild(params, by_rank(Z, k, Z))) for k in sizes]


def prefixes(params, x, Z, sizes):
    """ev by the first m latents alone."""
    return [explained(x, params.b_dec + Z[:, :m] @ params.W_dec[:m]) for m in sizes]


def shrinkage(params, x, Z):
    """Mean over active latents of refined / given - 1, refined by non-negative least squares on the same support."""
    ratios = []
    for row, code in zip(x, Z):
        active = np.flatnonzero(code)
        if len(active) > 0:
            refined, _ = scipy.optimize.nnls(params.W_dec[active].T, row - params.b_dec)
            ratios.extend(refined / code[active] - 1)
    return np.mean(ratios)


def first_order(params, x, Z, g, scale):
    """<g, xhat - x> in the store's units: mean, mean size, and 1 - its square over that of the mean's reconstruction."""
    effect = np.sum(g * (rebuild(params, Z) - x), axis=1) / scale
    of_mean = np.sum(g * (x - x.mean(axis=0)), axis=1) / scale
    return {"first_order": np.mean(effect), "first_order_abs": np.mean(np.abs(effect)),
            "first_order_r2": 1 - np.sum(effect**2) / np.sum(of_mean**2)}


def max_cos(params):
    """Mean over decoder rows of the largest signed cosine with another row."""
    W = sae.unit_rows(params.W_dec)
    cosine = W @ W.T
    np.fill_diagonal(cosine, -np.inf)
    return np.mean(cosine.max(axis=1))


def density(Z):
    """Counts of log10 firing frequencies in tenths of a decade from 1e-8 to 1, and latents that never fired."""
    often = np.mean(Z > 0, axis=0)
    bins = np.floor((np.log10(often[often > 0]) + 8) * 10 + 1e-9).astype(int)
    return np.bincount(np.clip(bins, 0, 79), minlength=80).tolist(), int(np.sum(often == 0))
