"""Fits of losses by sums of two exponentials, as the scaling laws of Gao et al. 2024 (arXiv:2406.04093, 3) are:

    L = exp(F theta) + exp(G phi)        the part that more latents reduce, and the part that they do not

with a row of F [N, p] and of G [N, q] for each point; without G only the first.  ln L is fitted with a Huber loss from
many starts; intervals come from a seeded bootstrap of the residuals, which keeps the design of the points, small as it
is (points drawn anew would leave out whole values of n).
"""
import collections
import itertools

import numpy as np
from scipy import optimize

LEVEL = 0.95  # of every interval and band
SHARES = (0.02, 0.2, 0.4, 0.6, 0.8, 0.95)  # of the least loss: starts for the irreducible part
TILTS = (-0.2, 0.0, 0.2)  # starts for its other coefficients
SINGULAR = 1e-9  # relative to the largest singular value: no direction of the data
CONDITIONED = 200.0  # of ln L's derivative: beyond, noise of 1 % moves some combination by more than a factor

# The parameters in the order of `names`; `draws` [M, p + q] those of the bootstrap; `residuals` [N] of ln L, made as
# large as those of fresh points; `condition` of the derivative of ln L by the parameters, freed from choices of units.
Fit = collections.namedtuple("Fit", "names values draws residuals condition")


class Unfit(Exception):
    """The points cannot tell the parameters; the message says which and why."""


def split(parameters, F):
    return parameters[..., :F.shape[1]], parameters[..., F.shape[1]:]


def log_loss(parameters, F, G):
    """ln L [..., N] of parameters [..., p + q]."""
    theta, phi = split(parameters, F)
    reducible = theta @ F.T
    return np.logaddexp(reducible, phi @ G.T) if G.shape[1] else reducible


def slope(parameters, F, G):
    """d ln L / d parameters, [N, p + q]."""
    if not G.shape[1]:
        return F.copy()  # least_squares scales it in place
    theta, phi = split(parameters, F)
    share = 1 / (1 + np.exp(np.clip(G @ phi - F @ theta, -500, 500)))
    return np.hstack([share[:, None] * F, (1 - share)[:, None] * G])


def descend(start, F, G, y, huber):
    """The nearest minimum of the Huber loss of the residuals: (parameters, loss)."""
    found = optimize.least_squares(lambda p: log_loss(p, F, G) - y, start, jac=lambda p: slope(p, F, G), loss="huber",
                                   f_scale=huber, x_scale="jac", max_nfev=400)
    return found.x, found.cost


def starts(F, G, y):
    """For each guess of the irreducible part, least squares for what is left."""
    if not G.shape[1]:
        return [np.linalg.lstsq(F, y, rcond=None)[0]]
    found = []
    for share, *tilts in itertools.product(SHARES, *[TILTS] * (G.shape[1] - 1)):
        phi = np.array([0.0, *tilts])
        phi[0] = np.log(share) + np.min(y - (G @ phi))
        left = np.maximum(np.exp(y) - np.exp(G @ phi), 1e-3 * np.exp(y))
        found.append(np.concatenate([np.linalg.lstsq(F, np.log(left), rcond=None)[0], phi]))
    return found


def triangle(design):
    """(Q, R) of a design: the columns of Q are orthogonal, of mean square 1, and point the way of the design's."""
    if not design.shape[1]:
        return design, np.zeros((0, 0))
    q, r = np.linalg.qr(design)
    scale = np.sqrt(len(design)) * np.sign(np.diag(r))
    return q * scale, r / scale[:, None]


def untold(design, names):
    """Names of the parameters that the columns of a design cannot tell from others."""
    if not design.shape[1]:
        return []
    scaled = design / np.linalg.norm(design, axis=0)
    _, values, directions = np.linalg.svd(scaled, full_matrices=True)
    values = np.pad(values, (0, design.shape[1] - len(values)))
    null = directions[values <= SINGULAR * values[0]]
    return [name for name, column in zip(names, null.T) if np.any(np.abs(column) > 1e-6)]


def condition(parameters, F, G):
    matrix = slope(parameters, F, G)
    norms = np.linalg.norm(matrix, axis=0)
    return float(np.linalg.cond(matrix / np.where(norms > 0, norms, 1))) if np.all(norms > 1e-12) else float("inf")


def fresh(residuals, parameters, F, G):
    """Residuals as large as those of points that were not fitted: each over sqrt(1 - leverage).  Their mean is left as it is:
    what a Huber fit makes zero is that of the residuals cut at `huber`, which outliers on one side do not move."""
    q, _ = np.linalg.qr(slope(parameters, F, G))
    leverage = np.clip(np.sum(q**2, axis=1), 0, 0.95)
    return residuals / np.sqrt(1 - leverage)


def drawn(random, residuals, free):
    """As many residuals, drawn anew; so few degrees of freedom as `free` leave their scale uncertain as well, which makes
    the intervals those of a t distribution where they would be those of a normal one."""
    return random.choice(residuals, len(residuals)) * np.sqrt(free / random.chisquare(free))


def fit(names, F, G, y, *, huber=0.01, draws=200, seed=1):
    """Fits ln L = y [N]; names of the p + q parameters.  Raises Unfit when the design cannot tell them apart."""
    lost = untold(F, names[:F.shape[1]]) + untold(G, names[F.shape[1]:])
    if lost:
        raise Unfit(f"{', '.join(lost)} cannot be told apart by these points")
    if len(y) <= len(names):
        raise Unfit(f"{len(names)} parameters ({', '.join(names)}) need more than {len(y)} points")
    (F_, R), (G_, S) = triangle(F), triangle(G)
    best, _ = min((descend(start, F_, G_, y, huber) for start in starts(F_, G_, y)), key=lambda found: found[1])
    around = log_loss(best, F_, G_)
    residuals = fresh(y - around, best, F_, G_)
    random, free = np.random.default_rng(seed), len(y) - len(names)
    again = [descend(best, F_, G_, around + drawn(random, residuals, free), huber)[0] for _ in range(draws)]
    own = [np.concatenate([np.linalg.solve(R, p[:F.shape[1]]), np.linalg.solve(S, p[F.shape[1]:])]) for p in [best, *again]]
    return Fit(tuple(names), own[0], np.array(own[1:]).reshape(draws, len(names)), residuals, condition(best, F_, G_))


def interval(samples, axis=0):
    """(low, high) of the middle LEVEL of samples."""
    return np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=axis)


def band(found, F, G, noise=False, seed=1):
    """(low, high) [N] of L at the rows of F and G: of the law, or with noise of a single further point."""
    samples = log_loss(found.draws, F, G)
    if noise:
        samples = samples + np.random.default_rng(seed).choice(found.residuals, samples.shape)
    return np.exp(interval(samples))
