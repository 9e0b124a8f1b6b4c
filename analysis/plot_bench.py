#!/usr/bin/python3
"""Draws what `hpsae bench --json=FILE` wrote.

    plot_bench.py roofline BENCH.json [-o OUT.png]
        attained rate of each phase against arithmetic intensity, under the roofs that the same run measured
    plot_bench.py scaling BENCH1.json BENCH2.json ... [-o OUT.png]
        tokens/s, efficiency and communication share against the number of ranks: files of one configuration (strong
        scaling) or of batches that grow with the ranks (weak scaling); copies (--copies) where the files have them
"""
import argparse
import json
import os
import sys

sys.dont_write_bytecode = True

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

BLUE, ORANGE, GREEN, RED, GREY = "#0b5394", "#e07b00", "#2a8f5b", "#c0392b", "#5f6b76"
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 12, "axes.titlesize": 14, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.titlepad": 10, "axes.labelsize": 12, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": "#888888", "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e4e7ea", "grid.linewidth": 0.9, "lines.linewidth": 2.0, "legend.frameon": False,
    "legend.fontsize": 11, "figure.facecolor": "white",
}
PHASE_COLOURS = {"encode": BLUE, "decode": ORANGE, "gradient_adam": GREEN, "aux": RED}
NAMES = {"gradient_adam": "gradients + Adam", "aux": "AuxK"}


class Refused(Exception):
    """What the user must mend, in one line."""


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            about = json.load(file)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{path}: not JSON: {error}") from error
    if not isinstance(about, dict) or about.get("format") != "hpsae bench report 1":
        raise Refused(f"{path}: not a report of this version; write one with `hpsae bench --json={path}`")
    if "phases" not in about:
        raise Refused(f"{path}: holds no steps (a calibration leaves them out); run `hpsae bench` without --calibrate")
    return about


def case_words(about):
    case = about["case"]
    return (f"n {case['latents']}, d {case['d']}, k {case['k']}, batch {case['batch']}; "
            f"{about['kernels']['backend']} ({about['kernels']['isa']})")


def roof(axis, limits, name, words, slope, reach, colour):
    """One roof: rises with the memory's slope to the unit's peak.  GFLOP/s of a rank."""
    peak = limits[name]["mean"] / 1e9
    axis.plot(reach, np.minimum(peak, slope * reach), color=colour, linewidth=1.6, zorder=2)
    axis.annotate(f"{words} {peak:.4g} GFLOP/s", (reach[-1], peak), xytext=(0, 4), textcoords="offset points",
                  ha="right", va="bottom", color=colour, fontsize=11)


def phase_points(about):
    """(name, flop a byte, GFLOP/s of the slowest rank) of the phases that compute."""
    return [(phase["name"], phase["flops"] / phase["bytes_touched"], phase["flops"] / phase["seconds"] / 1e9)
            for phase in about["phases"] if phase["flops"] > 0 and phase["seconds"] > 0 and phase["bytes_touched"] > 0]


def draw_roofline(about, path):
    limits, points = about["limits"], phase_points(about)
    slope = limits["memory_bytes"]["mean"] / 1e9
    peaks = [limits[name]["mean"] / 1e9 for name in ("screen_flops", "float32_flops")]
    intensities = [point[1] for point in points] + [peak / slope for peak in peaks]
    reach = np.geomspace(min(intensities) / 4, max(intensities) * 6, 400)
    figure, axis = plt.subplots(figsize=(10.5, 6.6))
    axis.set_xscale("log")
    axis.set_yscale("log")
    roof(axis, limits, "screen_flops", "screening product", slope, reach, BLUE)
    if abs(peaks[0] / peaks[1] - 1) > 0.02:
        roof(axis, limits, "float32_flops", "float32", slope, reach, GREY)
    axis.annotate(f"memory {slope:.3g} GB/s", (reach[20], slope * reach[20]), xytext=(8, -4), textcoords="offset points",
                  va="top", color=GREY, fontsize=11)
    for name, intensity, rate in points:
        colour = PHASE_COLOURS.get(name, GREY)
        axis.plot(intensity, rate, "o", color=colour, markersize=10, zorder=4)
        axis.annotate(f"{NAMES.get(name, name)} {rate:.3g}", (intensity, rate), xytext=(9, -4),
                      textcoords="offset points", va="top", color=colour, fontweight="bold")
    axis.set_xlabel("arithmetic intensity, flop a byte touched")
    axis.set_ylabel("GFLOP/s of a rank")
    axis.set_title(f"Roofline, {about['cpu']}, {about['ranks']} ranks of {about['threads']} threads\n{case_words(about)}")
    figure.text(0.01, 0.008, "Bytes touched count each use of an array; a point above the memory roof is served from "
                "cache.", color=GREY, fontsize=10)
    save(figure, path)


def efficiencies(reports):
    """Per report: tokens/s a rank over those of the smallest job."""
    base = reports[0]["step"]["tokens_per_s"] / reports[0]["ranks"]
    return [report["step"]["tokens_per_s"] / report["ranks"] / base for report in reports]


def draw_throughput(axis, reports, ranks):
    rates = [report["step"]["tokens_per_s"] for report in reports]
    axis.plot(ranks, [rates[0] * count / ranks[0] for count in ranks], "--", color=GREY, linewidth=1.4, label="in proportion")
    copied = [(report["ranks"], report["copies"]["copies_tokens_per_s"]) for report in reports if "copies" in report]
    if copied:
        axis.plot(*zip(*copied), "s-", color=ORANGE, label="independent copies, together")
    axis.plot(ranks, rates, "o-", color=BLUE, label="one job")
    axis.set_title("Throughput")
    axis.set_ylabel("tokens/s")
    axis.set_ylim(bottom=0)
    axis.legend(loc="upper left")


def draw_efficiency(axis, reports, ranks):
    axis.axhline(100, color=GREY, linestyle="--", linewidth=1.2)
    axis.plot(ranks, [100 * value for value in efficiencies(reports)], "o-", color=BLUE, label="against the smallest job")
    against = [(report["ranks"], 100 * report["copies"]["efficiency"]) for report in reports if "copies" in report]
    if against:
        axis.plot(*zip(*against), "s-", color=ORANGE, label="against copies, same run")
    axis.plot(ranks, [100 * report["step"]["communication_share"] for report in reports], "^-", color=RED,
              label="communication, share of the step")
    axis.set_title("Efficiency")
    axis.set_ylabel("%")
    axis.set_ylim(bottom=0)
    axis.legend(loc="lower left")


def draw_scaling(reports, path):
    reports = sorted(reports, key=lambda report: report["ranks"])
    ranks = [report["ranks"] for report in reports]
    batches = {report["case"]["batch"] for report in reports}
    figure, axes = plt.subplots(1, 2, figsize=(13, 5.8))
    draw_throughput(axes[0], reports, ranks)
    draw_efficiency(axes[1], reports, ranks)
    for axis in axes:
        axis.set_xlabel(f"ranks of {reports[0]['threads']} threads")
        axis.set_xticks(ranks)
        axis.set_xlim(left=0)
    kind = "Strong" if len(batches) == 1 else "Weak"
    figure.suptitle(f"{kind} scaling, {reports[0]['cpu']}: {case_words(reports[0])}", x=0.01, ha="left",
                    fontweight="bold", fontsize=13)
    save(figure, path)


def save(figure, path):
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    try:
        figure.savefig(path + ".tmp", format="png", dpi=150)
        os.replace(path + ".tmp", path)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    print(f"wrote {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=("roofline", "scaling"))
    parser.add_argument("files", nargs="+", metavar="BENCH.json")
    parser.add_argument("-o", "--output", metavar="OUT.png")
    asked = parser.parse_args()
    plt.rcParams.update(STYLE)
    try:
        reports = [read(path) for path in asked.files]
        path = asked.output or f"{asked.picture}.png"
        if asked.picture == "scaling":
            draw_scaling(reports, path)
        elif len(reports) > 1:
            raise Refused("roofline draws one file; name only that")
        else:
            draw_roofline(reports[0], path)
    except Refused as error:
        print(f"plot_bench.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
