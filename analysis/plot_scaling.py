"""The picture of scaling_laws.py: points, fits with their bands, and the part that no more latents reduce."""
import os

import numpy as np
from matplotlib import ticker

import plot_run
import scaling_forms
from plot_run import GREY, plt

MORE = 2.0  # curves reach so many times beyond the largest point
TITLES = {"joint": "L(n, k)", "size": "Loss against n, at each k", "compute": "Best loss at compute C",
          "convergence": "Tokens to convergence"}
LABELS = {"joint": "n, latents", "size": "n, latents", "compute": "C, FLOP of training", "convergence": "n, latents"}


def colors(ks):
    """A colour for each k, dark to light."""
    return {k: plt.get_cmap("viridis")(0.85 * i / max(1, len(ks) - 1)) for i, k in enumerate(ks)}


def draw_points(axis, x, y, held, color):
    axis.plot(x[~held], y[~held], "o", color=color, markersize=6, zorder=4)
    axis.plot(x[held], y[held], "o", color=color, markersize=7, markerfacecolor="white", markeredgewidth=1.8, zorder=5)


def irreducible(law, k):
    """exp(zeta + eta ln k), or e; None for a law without."""
    value = dict(zip(law.fit.names, law.fit.values))
    if law.kind == "joint":
        return np.exp(value["zeta"] + value["eta"] * np.log(k))
    return np.exp(value["e"]) if "e" in value else None


def draw_curve(axis, law, k, name, color, label):
    """The fit of all points with its band, the one without those held out, and the irreducible part."""
    at = law.data.x[name] if law.kind != "joint" and law.k is not None else law.data.x[name][law.data.x["k"] == k]
    x = np.geomspace(at.min(), MORE * at.max(), 60)
    variables = {name: x, **({"k": np.full(len(x), k)} if "k" in law.data.x else {})}
    value, low, high = scaling_forms.predict(law, law.fit, variables)
    axis.plot(x, value, color=color, linewidth=1.8, label=label, zorder=3)
    axis.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    if law.tested is not None:
        axis.plot(x, scaling_forms.predict(law, law.tested, variables)[0], color=color, linewidth=1.2, linestyle=(0, (2, 2)))
    floor = irreducible(law, k)
    if floor is not None and floor > 0.05 * law.data.y.min():
        axis.axhline(floor, color=color, linewidth=1, alpha=0.7, linestyle=(0, (6, 3)))


def draw_law(axis, law, ks, shade):
    name = next(iter(law.data.x))
    for k in ks if law.k is None else [law.k]:
        rows = law.data.x["k"] == k if "k" in law.data.x else np.ones(len(law.data.y), dtype=bool)
        if rows.any():
            draw_points(axis, law.data.x[name][rows], law.data.y[rows], law.data.held[rows], shade[k])
            if law.fit is not None:
                draw_curve(axis, law, k, name, shade[k], f"k {k:g}")


def finish(axis, kind, fitted):
    axis.set_title(TITLES[kind])
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(LABELS[kind])
    axis.set_ylabel("tokens" if kind == "convergence" else "fvu")
    plot_run.log_ticks(axis)
    low, high = axis.get_ylim()
    if high < 1.5 * low:  # no power of ten and no simple part of one need lie between
        axis.yaxis.set_major_locator(ticker.MaxNLocator(5))
    if kind == "convergence":
        axis.yaxis.set_major_formatter(ticker.FuncFormatter(plot_run.amount))
    if kind != "compute":
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda n, _: plot_run.thousands(int(n))))
    if not fitted:
        axis.text(0.5, 0.93, "not fitted: see scaling.json", transform=axis.transAxes, ha="center", color=GREY, style="italic")
    elif axis.get_legend_handles_labels()[0]:
        axis.legend(loc="best", fontsize=10)


def draw(laws, out, name):
    """Writes the picture of these laws, a panel a kind."""
    ks = sorted({k for law in laws for k in ([law.k] if law.k is not None else law.data.x.get("k", ()))})
    shade = colors(ks)
    plt.rcParams.update(plot_run.STYLE)
    figure, axes = plt.subplots(2, 2, figsize=(15, 11), dpi=110)
    for axis, kind in zip(axes.flat, TITLES):
        mine = [law for law in laws if law.kind == kind and len(law.data.y)]
        for law in mine:
            draw_law(axis, law, ks, shade)
        if mine:
            finish(axis, kind, any(law.fit is not None for law in mine))
        else:
            axis.set_title(TITLES[kind])
            plot_run.absent(axis, "not measured")
    figure.suptitle(f"Scaling laws of {name}", x=0.02, ha="left", fontsize=20, fontweight="bold")
    figure.text(0.02, 0.935, "open circles: held out of the dotted fit   ·   bands: 95 % of the bootstrap   ·   dashed: the "
                "irreducible part", color=GREY, fontsize=12)
    figure.tight_layout(rect=(0.01, 0, 1, 0.93), w_pad=3, h_pad=2)
    figure.savefig(out + ".tmp", format="png")
    os.replace(out + ".tmp", out)
    plt.close(figure)
