"""The forms of the scaling laws of Gao et al. 2024 (arXiv:2406.04093, 3), their fits and what these do not identify."""
import collections

import numpy as np

import scaling_fit

WIDEST = {"logarithm": 1.0, "exponent": 0.2}  # of an interval whose parameter still counts as identified
JOINT = ("A", "bk", "bn", "g", "zeta", "eta")
LOGARITHMS = ("A", "zeta", "e")  # in the fit; e is told as it is
# Variables of which a law needs so many values, and what fewer leave open.
NEEDED = {"joint": {"n": (3, "bn, g, zeta and eta"), "k": (2, "bk, g and eta")}, "size": {"n": (3, "b and e")},
          "compute": {"C": (3, "b and e")}, "convergence": {"n": (2, "t")}}
FORMULAS = {"joint": "L(n, k) = exp(A + bk ln k + bn ln n + g ln k ln n) + exp(zeta + eta ln k)",
            "size": "L(N) = a N^b + e", "compute": "L(C) = a C^b + e", "convergence": "T(n, k) = c_k n^t"}

# Points of a law: `x` its variables {name: [N]}, `y` [N] what it tells, `held` [N] whether it is held out of the first fit.
Data = collections.namedtuple("Data", "x y held")
# A fitted law at one k (None: all): `tested` of the fit without the points held out; both fits None where there is none.
Law = collections.namedtuple("Law", "kind k data fit tested warnings")


# ---- designs ----------------------------------------------------------------------------------------------------

def design(kind, x, ks):
    """(names, F, G) of scaling_fit for the variables {name: [N]}; ks: those of T(n, k)."""
    n = np.log(np.asarray(next(iter(x.values())), dtype=float))
    one = np.ones_like(n)
    if kind == "joint":
        k = np.log(np.asarray(x["k"], dtype=float))
        return JOINT, np.stack([one, k, n, k * n], axis=1), np.stack([one, k], axis=1)
    if kind == "convergence":
        at = np.stack([np.asarray(x["k"]) == k for k in ks], axis=1).astype(float)
        return (*(f"c_{k:g}" for k in ks), "t"), np.hstack([at, n[:, None]]), np.empty((len(n), 0))
    return ("a", "b", "e"), np.stack([one, n], axis=1), one[:, None]


def levels(kind, data):
    """Refuses points of too few different values, whatever their number."""
    for name, (needed, lost) in NEEDED[kind].items():
        found = sorted(set(data.x[name]))
        if len(found) < needed:
            has = f"have {len(found)} ({', '.join(f'{value:g}' for value in found)})" if found else "have none"
            raise scaling_fit.Unfit(f"{lost} cannot be identified: {needed} values of {name} are needed, the points {has}")


def fit(kind, data, options):
    levels(kind, data)
    names, F, G = design(kind, data.x, sorted(set(data.x.get("k", ()))))
    return scaling_fit.fit(names, F, G, np.log(data.y), huber=options.huber, draws=options.draws, seed=options.seed)


def part(data, rows):
    return Data({name: values[rows] for name, values in data.x.items()}, data.y[rows], data.held[rows])


# ---- what the points cannot tell --------------------------------------------------------------------------------

def wide(found):
    """Names of the parameters whose interval is too wide to count as identified.  a and c_k, values at one latent or one
    FLOP, far from all points, do not count."""
    low, high = scaling_fit.interval(found.draws)
    limit = [WIDEST["logarithm" if name in LOGARITHMS else "exponent"] for name in found.names]
    return [name for name, width, most in zip(found.names, high - low, limit)
            if not width <= most and name != "a" and not is_constant(name)]


def is_constant(name):
    """Whether it is one of the c_k of T(n, k)."""
    return name.startswith("c_")


def doubts(kind, found):
    """Sentences on what the fit does not identify."""
    lost, said = wide(found), []
    if lost:
        said.append(f"{', '.join(lost)} not identified: the interval is wider than {WIDEST['exponent']} (an exponent) or a "
                    f"factor {np.exp(WIDEST['logarithm']):.1f}")
    if found.condition > scaling_fit.CONDITIONED:
        said.append(f"badly conditioned ({found.condition:.0f}, limit {scaling_fit.CONDITIONED:.0f}): {', '.join(found.names)} "
                    "can make up for one another; more values of n or k, or a wider range, would tell them apart")
    value = dict(zip(found.names, found.values)).get("b")
    if value is not None and value >= 0:
        said.append(f"b is {value:.3g}: the loss does not fall")
    return said


def fit_law(kind, k, data, options):
    """The Law of these points; what cannot be fitted is a warning, not an end."""
    try:
        found = fit(kind, data, options)
    except scaling_fit.Unfit as problem:
        return Law(kind, k, data, None, None, [f"not fitted: {problem}"])
    warnings, tested = doubts(kind, found), None
    if data.held.any():
        try:
            tested = fit(kind, part(data, ~data.held), options)
        except scaling_fit.Unfit as problem:
            warnings.append(f"extrapolation not tested: without the points held out, {problem}")
    return Law(kind, k, data, found, tested, warnings)


def predict(law, found, x, noise=False):
    """(value, low, high) [N] of a law's fit at variables x."""
    _, F, G = design(law.kind, x, sorted(set(law.data.x.get("k", ()))))
    low, high = scaling_fit.band(found, F, G, noise)
    return np.exp(scaling_fit.log_loss(found.values, F, G)), low, high
