#!/usr/bin/python3
"""Draws a training run: plot_run.py RUN [OUT.png]

Reads RUN/metrics.jsonl, and RUN/eval.json, used.yaml where they are; writes RUN/run.png: training loss and held-out
explained variance, dead latents, learning rate and gradient norm, throughput, and how often the latents fire.
"""
import os
import sys

sys.dont_write_bytecode = True

import run_files  # first: it tells which package is missing

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker


BLUE, ORANGE, GREEN, RED, GREY = "#0b5394", "#e07b00", "#2a8f5b", "#c0392b", "#5f6b76"
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 12, "axes.titlesize": 14, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.titlepad": 10, "axes.labelsize": 12, "axes.labelcolor": "#333333",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#888888", "axes.grid": True,
    "axes.axisbelow": True, "grid.color": "#e4e7ea", "grid.linewidth": 0.9, "xtick.color": "#444444",
    "ytick.color": "#444444", "lines.linewidth": 2.0, "lines.solid_capstyle": "round", "legend.frameon": False,
    "legend.fontsize": 11, "figure.facecolor": "white",
}


def amount(value, _position=None):
    """1500000 -> '1.5M', for axes and titles."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def thousands(count):
    return f"{count:,}".replace(",", "\u2009")


def decimal(value, _position=None):
    return f"{value:g}"


def tokens_axis(axis):
    axis.set_xlabel("tokens")
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(amount))


def absent(axis, what):
    axis.text(0.5, 0.5, what, transform=axis.transAxes, ha="center", va="center", color=GREY, style="italic")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)


def smoothed(values, span=9):
    """Running median over `span` points: logged losses are those of single batches."""
    if len(values) < 3 * span:
        return np.asarray(values, dtype=float)
    half = span // 2
    padded = np.pad(np.asarray(values, dtype=float), half, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, span), axis=1)


def end_mark(axis, x, y, text, color, above):
    """A dot and its value at the end of a curve, on the side where the curve is not."""
    axis.plot(x[-1], y[-1], "o", color=color, markersize=6, clip_on=False, zorder=5)
    axis.annotate(text, (x[-1], y[-1]), xytext=(0, 9 if above else -9), textcoords="offset points", ha="right",
                  va="bottom" if above else "top", color=color, fontweight="bold", annotation_clip=False)


def log_ticks(axis):
    """Decimal labels on a logarithmic axis, the closer the less it spans."""
    low, high = axis.get_ylim()
    steps = (1, 1.5, 2, 3, 4, 5, 7) if high / low < 8 else (1, 2, 5) if high / low < 100 else (1,)
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=steps))
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(decimal))
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())


def draw_loss(axis, records):
    axis.set_title("Training loss")
    x, y = run_files.series(records, "fvu")
    if not y or min(y) <= 0:
        return absent(axis, "no loss logged")
    if len(y) >= 27:
        axis.plot(x, y, color=BLUE, alpha=0.25, linewidth=1)
    axis.plot(x, smoothed(y), color=BLUE)
    axis.set_yscale("log")
    axis.set_ylim(min(y) / 1.25, max(y) * 1.15)
    log_ticks(axis)
    axis.set_ylabel("fraction of variance unexplained")
    end_mark(axis, x, smoothed(y), f"{smoothed(y)[-1]:.3f}", BLUE, above=True)
    tokens_axis(axis)


def draw_heldout(axis, records):
    axis.set_title("Held-out explained variance")
    x, y = run_files.series(records, "heldout_ev")
    if not y:
        return absent(axis, "no held-out evaluation logged")
    axis.plot(x, y, color=GREEN, marker="o", markersize=4)
    floor = max(0.0, min(y) - 0.05) if min(y) >= 0 else min(y)
    axis.set_ylim(floor, 1.0)
    axis.set_ylabel("ev")
    end_mark(axis, x, y, f"{y[-1]:.3f}", GREEN, above=False)
    tokens_axis(axis)


def draw_dead(axis, records):
    axis.set_title("Dead latents")
    x, y = run_files.series(records, "dead")
    if not y:
        return absent(axis, "not logged")
    share = np.asarray(y) * 100.0
    axis.fill_between(x, share, color=RED, alpha=0.15, linewidth=0)
    axis.plot(x, share, color=RED, clip_on=False)
    axis.set_ylim(0, max(5.0, share.max() * 1.2))
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g} %"))
    axis.set_ylabel("share of the dictionary")
    end_mark(axis, x, share, f"{share[-1]:.1f} %", RED, above=True)
    tokens_axis(axis)


def draw_rate(axis, records):
    x, y = run_files.series(records, "lr")
    axis.set_title("Learning rate" + (" and gradient norm" if run_files.series(records, "grad_norm")[1] else ""))
    if not y:
        return absent(axis, "not logged")
    power = int(np.floor(np.log10(max(y)))) if max(y) > 0 else 0
    axis.plot(x, np.asarray(y) / 10.0**power, color=ORANGE)
    axis.set_ylim(0, max(y) / 10.0**power * 1.15 if max(y) > 0 else 1)
    axis.set_ylabel(f"learning rate ($\\times 10^{{{power}}}$)", color=ORANGE)
    tokens_axis(axis)
    draw_gradient_norm(axis, records)


def draw_gradient_norm(axis, records):
    x, y = run_files.series(records, "grad_norm")
    if not y or min(y) <= 0:
        return
    other = axis.twinx()
    other.grid(False)
    other.spines["right"].set_visible(True)
    other.plot(x, y, color=GREY, alpha=0.35, linewidth=1)
    other.plot(x, smoothed(y), color=GREY, linewidth=1.5)
    other.set_yscale("log")
    other.set_ylim(min(y) / 1.3, max(y) * 1.3)
    log_ticks(other)
    other.set_ylabel("gradient norm", color=GREY)


def draw_speed(axis, records):
    axis.set_title("Throughput")
    x, y = run_files.series(records, "tokens_per_s")
    if not y:
        return absent(axis, "not logged")
    axis.plot(x, y, color=BLUE)
    axis.set_ylim(0, max(y) * 1.2)
    middle = float(np.median(y))
    axis.axhline(middle, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axis.text(0.985, 0.06, f"median {amount(float(f'{middle:.3g}'))} tokens/s", transform=axis.transAxes, ha="right",
              color=GREY, fontweight="bold")
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(amount))
    axis.set_ylabel("tokens per second")
    tokens_axis(axis)


def draw_density(axis, evaluation):
    axis.set_title("How often latents fire")
    density = (evaluation or {}).get("density") or {}
    edges, counts = np.asarray(density.get("edges", [])), np.asarray(density.get("counts", []))
    if len(counts) == 0 or len(edges) != len(counts) + 1:
        return absent(axis, "no eval.json: run hpsae eval")
    axis.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BLUE, alpha=0.85, edgecolor="white",
             linewidth=0.6)
    used = np.flatnonzero(counts)
    if len(used):
        axis.set_xlim(np.floor(edges[used[0]] - 0.1), min(0.0, np.ceil(edges[used[-1] + 1] + 0.1)))
    axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"$10^{{{v:g}}}$"))
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(amount))
    axis.set_xlabel("firing frequency, share of tokens")
    axis.set_ylabel("latents")
    axis.grid(axis="x", visible=False)
    axis.set_ylim(0, max(1, counts.max()) * 1.22)
    alive = evaluation.get("alive_eval")
    if run_files.is_number(alive):
        axis.text(0.985, 0.97, f"{100 * alive:.1f} % of the latents fired", transform=axis.transAxes, ha="right",
                  va="top", color=GREY, fontweight="bold")


def heading(records, evaluation, used):
    """One line of figures under the title: what there is of them."""
    last = records[-1]
    parts = []
    if "model.latents" in used and "model.k" in used:
        parts.append(f"{thousands(int(used['model.latents']))} latents, k {used['model.k']}")
    parts.append(f"{amount(float(format(last.get('tokens', 0), '.3g')))} tokens in {thousands(last['step'])} steps")
    ev = (evaluation or {}).get("ev")
    if run_files.is_number(ev):
        parts.append(f"held-out ev {ev:.4f}")
    if run_files.is_number(last.get("l0")):
        parts.append(f"L0 {last['l0']:.3g}")
    return "   ·   ".join(parts)


def draw(run, out):
    records = run_files.read_metrics(run)
    evaluation = run_files.read_json(os.path.join(run, "eval.json"))
    used = run_files.read_used(run) if os.path.exists(os.path.join(run, "used.yaml")) else {}
    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(2, 3, figsize=(16, 9), dpi=120)
    draw_loss(axes[0, 0], records)
    draw_heldout(axes[0, 1], records)
    draw_density(axes[0, 2], evaluation)
    draw_dead(axes[1, 0], records)
    draw_speed(axes[1, 1], records)
    draw_rate(axes[1, 2], records)
    figure.subplots_adjust(left=0.06, right=0.945, bottom=0.075, top=0.835, wspace=0.3, hspace=0.42)
    figure.text(0.06, 0.955, os.path.basename(os.path.abspath(run)), fontsize=21, fontweight="bold", va="center")
    figure.text(0.06, 0.912, heading(records, evaluation, used), fontsize=13, color=GREY, va="center")
    figure.savefig(out + ".tmp", format="png")
    os.replace(out + ".tmp", out)
    plt.close(figure)


def body(arguments):
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        raise run_files.Unusable("usage: plot_run.py RUN [OUT.png]")
    out = arguments[1] if len(arguments) == 2 else os.path.join(arguments[0], "run.png")
    draw(arguments[0], out)
    print(f"wrote {out}")


if __name__ == "__main__":
    run_files.main(body)
