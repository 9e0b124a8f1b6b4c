"""A TopK sparse autoencoder and one step of its training, in NumPy and double precision.

Written from the formulas alone, as slow and as plain as they are on paper: it is what the program is tested against, so
it shares nothing with it.  Shapes: x [B, d] activations as they enter the model (already scaled), W_enc [n, d],
b_enc [n], W_dec [n, d] (row = direction of a latent), b [d].  Sources: Gao et al. 2024 (arXiv:2406.04093), eq. 2,
appendices A.1 (optimisation) and A.2 (AuxK).
"""
import dataclasses

import numpy as np

TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


@dataclasses.dataclass
class Params:
    """The four tensors; also used for gradients, moments and averages, which have the same shapes."""

    W_enc: np.ndarray
    b_enc: np.ndarray
    W_dec: np.ndarray
    b_dec: np.ndarray

    def map(self, function, *others):
        """A new Params whose tensors are function(mine, theirs, ...)."""
        return Params(*(function(getattr(self, t), *(getattr(o, t) for o in others)) for t in TENSORS))

    def copy(self):
        return self.map(np.copy)

    def zeros(self):
        return self.map(np.zeros_like)


@dataclasses.dataclass
class Slots:
    """The latents that a token selected, in the order in which the reconstruction adds them.

    latent [B, K] numbers; weight [B, K] of the residual after each slot; weight0 [B] of the bias alone.  The weights of
    a token sum to 1.  A slot whose pre-activation is not positive has value 0 and so changes nothing.
    """

    latent: np.ndarray
    weight: np.ndarray
    weight0: np.ndarray


# ---- forward ----------------------------------------------------------------------------------------------------

def scale_rows(x, scale, mean_sq_norm=None):
    """Input scaling: 'none'; 'dataset', E|s x|^2 = d; 'token', mean over d removed, norm sqrt(d)."""
    x = np.asarray(x, dtype=np.float64)
    d = x.shape[1]
    if scale == "dataset":
        return x * np.sqrt(d / mean_sq_norm)
    if scale == "token":
        centred = x - x.mean(axis=1, keepdims=True)
        return centred * (np.sqrt(d) / np.linalg.norm(centred, axis=1, keepdims=True))
    return x


def preactivations(params, x):
    """p [B, n]: p_i = <e_i, x - b> + b_enc_i."""
    return (x - params.b_dec) @ params.W_enc.T + params.b_enc


def top_k(p, k):
    """Latents [B, k] of the k largest values of each row, largest first, equal values by lower latent first."""
    return np.argsort(-p, axis=1, kind="stable")[:, :k]


def selection_gap(p, k):
    """Smallest distance between a value that is selected and one that is not, and of a selected one from 0."""
    ranked = -np.sort(-p, axis=1)
    gap = np.abs(ranked[:, :k]).min()
    return min(gap, (ranked[:, k - 1] - ranked[:, k]).min()) if k < p.shape[1] else gap


def plain(latent):
    """The plain objective: weight 1 on the residual after the last slot."""
    weight = np.zeros(latent.shape)
    weight[:, -1] = 1.0
    return Slots(latent, weight, np.zeros(len(latent)))


def slot_preactivations(params, x, slots):
    """p [B, K] of the slots alone."""
    rows = params.W_enc[slots.latent]
    return np.einsum("bkd,bd->bk", rows, x - params.b_dec) + params.b_enc[slots.latent]


def slot_values(params, x, slots):
    """z = max(p, 0) [B, K]."""
    return np.maximum(slot_preactivations(params, x, slots), 0.0)


# ---- the weighted nested reconstruction -------------------------------------------------------------------------

def residuals(W_dec, base, target, slots, z):
    """r_0 = base - target [B, d], and r_s = r_0 + sum_{t <= s} z_t w_t for every slot [B, K, d]."""
    r0 = base - target
    return r0, r0[:, None, :] + np.cumsum(z[..., None] * W_dec[slots.latent], axis=1)


def nested_loss(W_dec, base, target, slots, z):
    """L [B] = weight0 |r_0|^2 + sum_s weight_s |r_s|^2."""
    r0, r = residuals(W_dec, base, target, slots, z)
    return slots.weight0 * np.sum(r0**2, axis=1) + np.sum(slots.weight * np.sum(r**2, axis=2), axis=1)


def nested_gradient(W_dec, base, target, slots, z):
    """Gradient of sum_tokens L: dz [B, K], dW_dec [n, d], dbase [d].

    With the suffix vectors S_s = 2 sum_{t >= s} weight_t r_t: dL/dz_s = <S_s, w_s>, dL/dw_s = z_s S_s,
    dL/dbase = S_1 + 2 weight0 r_0.
    """
    r0, r = residuals(W_dec, base, target, slots, z)
    suffix = np.cumsum((2.0 * slots.weight[..., None] * r)[:, ::-1], axis=1)[:, ::-1]
    dz = np.einsum("bkd,bkd->bk", suffix, W_dec[slots.latent])
    dW_dec = np.zeros_like(W_dec)
    np.add.at(dW_dec, slots.latent, z[..., None] * suffix)
    dbase = np.sum(suffix[:, 0] + 2.0 * slots.weight0[:, None] * r0, axis=0)
    return dz, dW_dec, dbase


def encoder_gradient(params, x, slots, dz):
    """Adds up what dz [B, K] means for W_enc, b_enc and, through x - b, for b (the tied pre-bias)."""
    dp = dz * (slot_preactivations(params, x, slots) > 0.0)
    gradient = params.zeros()
    np.add.at(gradient.W_enc, slots.latent, dp[..., None] * (x - params.b_dec)[:, None, :])
    np.add.at(gradient.b_enc, slots.latent, dp)
    gradient.b_dec -= np.einsum("bk,bkd->d", dp, params.W_enc[slots.latent])
    return gradient


# ---- loss and gradients of a batch ------------------------------------------------------------------------------

@dataclasses.dataclass
class Aux:
    """What AuxK holds fixed: its slots, the detached error e [B, d], and V_e, e's variance about its batch mean."""

    slots: Slots
    target: np.ndarray
    variance: float
    coefficient: float


def reconstruct(params, x, slots):
    """xhat [B, d] = b + sum z w."""
    z = slot_values(params, x, slots)
    return params.b_dec + np.einsum("bk,bkd->bd", z, params.W_dec[slots.latent])


def choose_aux(params, x, slots, dead, k_aux, coefficient):
    """AuxK's slots: the k_aux largest pre-activations among the dead latents; None when none is dead or V_e = 0."""
    k_aux = min(k_aux, int(dead.sum()))
    if k_aux == 0:
        return None
    target = x - reconstruct(params, x, slots)
    variance = np.mean(np.sum((target - target.mean(axis=0)) ** 2, axis=1))
    if variance == 0.0:
        return None
    p = np.where(dead, preactivations(params, x), -np.inf)
    return Aux(plain(top_k(p, k_aux)), target, variance, coefficient)


def batch_loss(params, x, V, slots, aux=None):
    """mean L / V + coefficient mean |e - ehat|^2 / V_e, everything in slots and aux held fixed: (total, main, aux)."""
    main = np.mean(nested_loss(params.W_dec, params.b_dec, x, slots, slot_values(params, x, slots))) / V
    if aux is None:
        return main, main, 0.0
    z = slot_values(params, x, aux.slots)
    auxiliary = np.mean(nested_loss(params.W_dec, 0.0, aux.target, aux.slots, z)) / aux.variance
    return main + aux.coefficient * auxiliary, main, auxiliary


def batch_gradient(params, x, V, slots, aux=None):
    """The gradient of batch_loss as a Params."""
    dz, dW_dec, dbase = nested_gradient(params.W_dec, params.b_dec, x, slots, slot_values(params, x, slots))
    gradient = encoder_gradient(params, x, slots, dz)
    gradient.W_dec += dW_dec
    gradient.b_dec += dbase
    gradient = gradient.map(lambda g: g / (len(x) * V))
    if aux is not None:
        # ehat has no bias of its own, so b is reached through the pre-activations alone.
        dz, dW_dec, _ = nested_gradient(params.W_dec, 0.0, aux.target, aux.slots, slot_values(params, x, aux.slots))
        extra = encoder_gradient(params, x, aux.slots, dz)
        extra.W_dec += dW_dec
        factor = aux.coefficient / (len(x) * aux.variance)
        gradient = gradient.map(lambda g, a: g + factor * a, extra)
    return gradient


# ---- one step of training ---------------------------------------------------------------------------------------

@dataclasses.dataclass
class Options:
    k: int
    V: float  # E|x - mean|^2 of the sample taken at the start
    lr: float
    steps: int
    warmup_steps: int = 1000
    decay: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 6.25e-10
    clip: float = 0.0
    ema: float = 0.0
    aux_k: int = 0
    aux_coefficient: float = 1.0 / 32.0
    dead_tokens: int = 10_000_000


@dataclasses.dataclass
class State:
    value: Params
    moment1: Params
    moment2: Params
    average: Params
    fired: np.ndarray  # [n] tokens seen by the job when the latent last had a positive value
    tokens: int = 0
    step: int = 0

    @staticmethod
    def start(params):
        return State(params.copy(), params.zeros(), params.zeros(), params.zeros(),
                     np.zeros(len(params.b_enc), dtype=np.int64))


def project(gradient, params):
    """The gradient of each decoder row loses its component along the row."""
    along = np.sum(gradient.W_dec * params.W_dec, axis=1, keepdims=True)
    along = along / np.sum(params.W_dec**2, axis=1, keepdims=True)
    return dataclasses.replace(gradient, W_dec=gradient.W_dec - along * params.W_dec)


def norm(gradient):
    """Global norm over the four tensors."""
    return np.sqrt(sum(np.sum(getattr(gradient, t) ** 2) for t in TENSORS))


def clipped(gradient, limit):
    size = norm(gradient)
    return gradient.map(lambda g: g * (limit / size)) if 0.0 < limit < size else gradient


def learning_rate(options, step):
    """Of step 1, 2, ..., steps: linear warm-up, flat, linear decay over the last share, reaching 0 after the last."""
    warm = min(1.0, step / options.warmup_steps) if options.warmup_steps > 0 else 1.0
    falling = options.decay * options.steps
    left = options.steps - step + 1
    return options.lr * warm * (min(1.0, left / falling) if falling > 0 else 1.0)


def update_moments(state, gradient, options):
    """Adam's two moments (Kingma and Ba 2015, algorithm 1)."""
    state.moment1 = state.moment1.map(lambda m, g: options.beta1 * m + (1 - options.beta1) * g, gradient)
    state.moment2 = state.moment2.map(lambda v, g: options.beta2 * v + (1 - options.beta2) * g**2, gradient)


def move(state, lr, options):
    """Adam's move with bias correction, from the moments of step state.step; then rows of unit length."""
    correct1, correct2 = 1 - options.beta1**state.step, 1 - options.beta2**state.step
    state.value = state.value.map(
        lambda w, m, v: w - lr * (m / correct1) / (np.sqrt(v / correct2) + options.epsilon),
        state.moment1, state.moment2)
    state.value.W_dec = unit_rows(state.value.W_dec)


def unit_rows(W):
    return W / np.linalg.norm(W, axis=1, keepdims=True)


def averaged(average, value, decay, step):
    """The bias-corrected average after `step` steps, A_t / (1 - decay^t) with A_t = decay A_{t-1} + (1 - decay) w_t."""
    earlier, now = 1 - decay ** (step - 1), 1 - decay**step
    return average.map(lambda a, w: (decay * earlier * a + (1 - decay) * w) / now, value)


def choose(state, x, options):
    """Selection of one batch: (slots, aux, latents that are dead, smallest gap that decided the selection)."""
    p = preactivations(state.value, x)
    slots = plain(top_k(p, options.k))
    gap = selection_gap(p, options.k)
    dead = state.tokens - state.fired >= options.dead_tokens
    aux = None
    if options.aux_k > 0:
        aux = choose_aux(state.value, x, slots, dead, options.aux_k, options.aux_coefficient)
    if aux is not None:
        gap = min(gap, selection_gap(p[:, dead], aux.slots.latent.shape[1]))
    return slots, aux, dead, gap


def count_fired(state, slots, z, tokens_after):
    state.fired[np.unique(slots.latent[z > 0.0])] = tokens_after


def train_step(state, x, options):
    """One step on the batch x, in place.  Returns what a log would say of it, and the gap of its selection."""
    slots, aux, dead, gap = choose(state, x, options)
    _, fvu, aux_loss = batch_loss(state.value, x, options.V, slots, aux)
    gradient = project(batch_gradient(state.value, x, options.V, slots, aux), state.value)
    grad_norm = norm(gradient)
    gradient = clipped(gradient, options.clip)
    z = slot_values(state.value, x, slots)

    state.step += 1
    state.tokens += len(x)
    count_fired(state, slots, z, state.tokens)
    lr = learning_rate(options, state.step)
    update_moments(state, gradient, options)
    move(state, lr, options)
    if options.ema > 0.0:
        state.average = averaged(state.average, state.value, options.ema, state.step)
    return {"fvu": fvu, "aux": aux_loss, "l0": np.mean(np.sum(z > 0, axis=1)), "dead": int(dead.sum()),
            "grad_norm": grad_norm, "lr": lr, "gap": gap, "gradient": gradient}
