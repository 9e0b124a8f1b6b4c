"""A sparse autoencoder and one step of its training, in NumPy and double precision.

Written from the formulas alone, as slow and as plain as they are on paper: it is what the program is tested against, so
it shares nothing with it.  Shapes: x [B, d] activations as they enter the model (already scaled), W_enc [n, d],
b_enc [n], W_dec [n, d] (row = direction of a latent), b [d].  Sources: Gao et al. 2024 (arXiv:2406.04093), eq. 2,
appendices A.1 (optimisation) and A.2 (AuxK); for selections and objectives see slots.py.
"""
import dataclasses

import numpy as np

import slots as choice

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


def slot_preactivations(params, x, slots):
    """p [B, K] of the slots alone."""
    rows = params.W_enc[slots.latent]
    return np.einsum("bkd,bd->bk", rows, x - params.b_dec) + params.b_enc[slots.latent]


def slot_values(params, x, slots):
    """z = max(p, 0) [B, K], 0 where the slot is not used."""
    return np.where(slots.used, np.maximum(slot_preactivations(params, x, slots), 0.0), 0.0)


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
    dp = dz * (slot_values(params, x, slots) > 0.0)
    gradient = params.zeros()
    np.add.at(gradient.W_enc, slots.latent, dp[..., None] * (x - params.b_dec)[:, None, :])
    np.add.at(gradient.b_enc, slots.latent, dp)
    gradient.b_dec -= np.einsum("bk,bkd->d", dp, params.W_enc[slots.latent])
    return gradient


# ---- loss and gradients of a batch ------------------------------------------------------------------------------

@dataclasses.dataclass
class Aux:
    """What AuxK holds fixed: its slots, the detached error e [B, d], and V_e, e's variance about its batch mean."""

    slots: choice.Slots
    target: np.ndarray
    variance: float
    coefficient: float


def reconstruct(params, x, slots):
    """xhat [B, d] = b + sum z w over the tokens' codes."""
    z = slot_values(params, x, slots)[:, :slots.code]
    return params.b_dec + np.einsum("bk,bkd->bd", z, params.W_dec[slots.latent[:, :slots.code]])


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
    return Aux(choice.plain(choice.top_k(p, k_aux)), target, variance, coefficient)


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
    select: str = "topk"
    objective: str = "plain"
    alpha: float = 1.0
    beta: float = 1.0
    multi_factor: int = 4
    multi_weight: float = 0.125
    levels: tuple = ()  # hierarchical; (): 1 .. k
    prefixes: tuple = ()  # Matryoshka, of this step
    k_start: int = 0
    k_steps: int = 0
    threshold_start: int = 1000
    threshold_decay: float = 0.999
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
    threshold: float = None  # BatchTopK's, for use after training

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


def choose_slots(params, x, options, k, g=None):
    """Selection and objective of one batch: (slots, how far the values are from other ones).

    g [B, d] are the gradients of select gradient, divided by their RMS norm.
    """
    p = preactivations(params, x)
    score = p
    if options.select == "gradient":
        score = choice.gradient_score(p, params.W_dec, g, options.alpha, options.beta)
    if options.select == "batch_topk":
        latent, used, gap = choice.of_batch(p, k)
    else:
        width = options.multi_factor * k if options.objective == "multi_topk" else k
        latent, used, gap = choice.of_tokens(score, width)
    if options.objective == "plain":
        return choice.plain(latent, used), gap
    if options.objective == "matryoshka":
        return choice.matryoshka(latent, used, options.prefixes), gap
    if options.objective == "multi_topk":
        slots = choice.multi_top_k(latent, used, k, options.multi_weight)
    else:
        slots = choice.hierarchical(latent, used, options.levels)
    return slots, min(gap, choice.order_gap(score, slots))


def choose(state, x, options, g=None):
    """Everything that one step holds fixed: (slots, aux, latents that are dead, smallest gap that decided it)."""
    k = choice.annealed_k(options.k, options.k_start, options.k_steps, state.step)
    slots, gap = choose_slots(state.value, x, options, k, g)
    dead = state.tokens - state.fired >= options.dead_tokens
    aux = None
    if options.aux_k > 0:
        aux = choose_aux(state.value, x, slots, dead, options.aux_k, options.aux_coefficient)
    if aux is not None:
        gap = min(gap, choice.selection_gap(preactivations(state.value, x)[:, dead], aux.slots.latent.shape[1]))
    return slots, aux, dead, gap


def count_fired(state, latents, tokens_after):
    state.fired[np.unique(latents)] = tokens_after


def follow_threshold(state, smallest, options):
    """The running mean of the smallest value that each step kept; the first step that counts sets it."""
    if state.threshold is None:
        state.threshold = smallest
    else:
        state.threshold = options.threshold_decay * state.threshold + (1 - options.threshold_decay) * smallest


def train_step(state, x, options, g=None):
    """One step on the batch x, in place.  Returns what a log would say of it, and the gap of its selection."""
    slots, aux, dead, gap = choose(state, x, options, g)
    _, loss, aux_loss = batch_loss(state.value, x, options.V, slots, aux)
    gradient = project(batch_gradient(state.value, x, options.V, slots, aux), state.value)
    grad_norm = norm(gradient)
    gradient = clipped(gradient, options.clip)
    fvu = np.mean(np.sum((x - reconstruct(state.value, x, slots)) ** 2, axis=1)) / options.V
    z = slot_values(state.value, x, slots)[:, :slots.code]

    if options.select == "batch_topk" and state.step >= options.threshold_start and np.any(z > 0.0):
        follow_threshold(state, z[z > 0.0].min(), options)
    state.step += 1
    state.tokens += len(x)
    count_fired(state, slots.latent[:, :slots.code][z > 0.0], state.tokens)
    lr = learning_rate(options, state.step)
    update_moments(state, gradient, options)
    move(state, lr, options)
    if options.ema > 0.0:
        state.average = averaged(state.average, state.value, options.ema, state.step)
    return {"loss": loss, "fvu": fvu, "aux_fvu": aux_loss, "l0": np.mean(np.sum(z > 0, axis=1)),
            "dead": int(dead.sum()), "grad_norm": grad_norm, "lr": lr, "gap": gap, "gradient": gradient}
