"""Which latents a token uses, in which order, and with which weights the loss counts the partial reconstructions.

The selections and objectives of the published methods, each written from its formula.  Shapes: p [B, n]
pre-activations, score [B, n] what a selection ranks by.  Sources:
TopK and Multi-TopK, Gao et al. 2024 (arXiv:2406.04093), eq. 2 and 5.3;
BatchTopK, Bussmann et al. 2024 (arXiv:2412.06410); gradient-aware selection, Olmo et al. 2024 (arXiv:2411.10397);
HierarchicalTopK, Balagansky et al. 2025 (arXiv:2505.24473); Matryoshka, Bussmann et al. 2025 (arXiv:2503.17547).
"""
import dataclasses

import numpy as np


@dataclasses.dataclass
class Slots:
    """The latents that a token selected, in the order in which the reconstruction adds them.

    latent [B, K] numbers; weight [B, K] of the residual after each slot; weight0 [B] of the bias alone: a token's
    weights sum to 1.  used [B, K]: slots that are not have value 0 and so change nothing, as those whose pre-activation
    is not positive; a token may so have any number of slots.  The first `code` columns are the token's code: what the
    latents that fire, l0, the reconstruction and AuxK's error are taken from.
    """

    latent: np.ndarray
    weight: np.ndarray
    weight0: np.ndarray
    used: np.ndarray = None
    code: int = None

    def __post_init__(self):
        self.used = np.ones(self.latent.shape, dtype=bool) if self.used is None else self.used
        self.code = self.latent.shape[1] if self.code is None else self.code


# ---- selections -------------------------------------------------------------------------------------------------
# Each gives (latent [B, K] by score, descending, used [B, K], the distance of the scores from another outcome).

def top_k(p, k):
    """Latents [B, k] of the k largest values of each row, largest first, equal values by lower latent first."""
    return np.argsort(-p, axis=1, kind="stable")[:, :k]


def selection_gap(score, k):
    """How far the scores are from another selection of the k largest positive ones of each row."""
    ranked = -np.sort(-score, axis=1)
    least, after = ranked[:, k - 1], np.maximum(ranked[:, k], 0.0) if k < score.shape[1] else 0.0
    return np.where(least > 0.0, least - after, np.abs(score).min(axis=1)).min()


def order_gap(score, slots):
    """How far the scores are from an order of the slots in which another latent would pass a level."""
    mine = np.take_along_axis(score, slots.latent, axis=1)
    level = slots.used[:, 1:] & (slots.weight[:, :-1] > 0.0)
    return np.min((mine[:, :-1] - mine[:, 1:])[level], initial=np.inf)


def of_tokens(score, k):
    """Each token's k largest positive scores."""
    latent = top_k(score, k)
    return latent, np.take_along_axis(score, latent, axis=1) > 0.0, selection_gap(score, k)


def of_batch(p, k):
    """The k * B largest positive values of the whole batch, ties by token, then latent."""
    tokens, n = p.shape
    flat = p.reshape(-1)
    kept = np.argsort(-flat, kind="stable")[:k * tokens]
    kept = kept[flat[kept] > 0.0]
    mine = [kept[kept // n == token] % n for token in range(tokens)]  # still by value
    width = max(1, max(len(latents) for latents in mine))
    latent, used = np.zeros((tokens, width), dtype=np.int64), np.zeros((tokens, width), dtype=bool)
    for token, latents in enumerate(mine):
        latent[token, :len(latents)], used[token, :len(latents)] = latents, True
    return latent, used, selection_gap(p.reshape(1, -1), k * tokens)


def gradient_score(p, W_dec, g, alpha, beta):
    """z (alpha + beta |<w, g>|) of each latent; negative where p is, so that those are never kept."""
    return p * (alpha + beta * np.abs(g @ W_dec.T))


# ---- objectives -------------------------------------------------------------------------------------------------

def by_levels(latent, used, levels, weights, code=None):
    """Weight weights[i], scaled to a sum of 1, on the residual after levels[i] slots (after the last where there are
    fewer: what follows them is not used)."""
    weight = np.zeros(latent.shape)
    for level, share in zip(levels, np.asarray(weights) / np.sum(weights)):
        weight[:, min(level, latent.shape[1]) - 1] += share
    return Slots(latent, weight, np.zeros(len(latent)), used, code)


def plain(latent, used=None):
    """The plain objective: weight 1 on the residual after the last slot."""
    return by_levels(latent, used, [latent.shape[1]], [1.0])


def multi_top_k(latent, used, k, weight):
    """L(k) + weight * L(all the slots)."""
    return by_levels(latent, used, [k, latent.shape[1]], [1.0, weight], code=k)


def hierarchical(latent, used, levels):
    """The mean of L(j) over the levels; none given: over 1 .. K."""
    levels = list(levels) or range(1, latent.shape[1] + 1)
    return by_levels(latent, used, levels, np.ones(len(levels)))


def matryoshka(latent, used, prefixes):
    """The mean of the losses of the first m latents over the prefixes m: slots in the order of their latents, each
    prefix's weight on its last slot, on the bias where it has none."""
    number = np.where(used, latent, np.iinfo(np.int64).max)
    order = np.argsort(number, axis=1, kind="stable")
    weight, weight0 = np.zeros(latent.shape), np.zeros(len(latent))
    for m in prefixes:
        for token, count in enumerate(np.sum(number < m, axis=1)):
            if count > 0:
                weight[token, count - 1] += 1 / len(prefixes)
            else:
                weight0[token] += 1 / len(prefixes)
    return Slots(np.take_along_axis(latent, order, axis=1), weight, weight0, np.take_along_axis(used, order, axis=1))


def default_prefixes(n):
    """The sizes of Bussmann et al. 2025: 1/32, 1/16, 1/8 and 1/4 of the latents after one another, then the rest."""
    return [int(m) for m in np.cumsum([n // 32, n // 16, n // 8, n // 4])] + [n]


def prefix_distribution(n, smallest):
    """Of a random length L: P(L <= smallest + l) for l = 0, 1, ..., n - 1 - smallest, from
    P(L = smallest + l) proportional to sqrt(l + 1) - sqrt(l)."""
    return np.sqrt(np.arange(1, n - smallest + 1) / (n - smallest))


def annealed_k(k, k_start, k_steps, step):
    """k of step 0, 1, ...: linearly from k_start to k over k_steps steps, halves rounded up."""
    return int(np.floor(k_start + (k - k_start) * step / k_steps + 0.5)) if step < k_steps else k
