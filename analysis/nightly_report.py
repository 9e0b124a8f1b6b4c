"""The page of a night: one HTML file with its pictures inside, that needs nothing from elsewhere and prints."""
import base64
import collections
import html
import io
import os
import re

import numpy as np

import nightly_metrics
import plot_run
import run_files
import scaling_points
from plot_run import BLUE, GREEN, RED, plt

# What the papers report, at their size: directions can be compared, sizes cannot.
GPT4 = {"A": -0.50, "bk": 0.26, "bn": -0.017, "g": -0.042, "zeta": -1.32, "eta": -0.085}
PUBLISHED_SCALING = {**{("joint", name): f"{value:g} (GPT-4)" for name, value in GPT4.items()},
                     ("convergence", "t"): "0.60 (GPT-2 small), 0.65 (GPT-4)"}
MARKS = {nightly_metrics.WORSE: "▼ worse", nightly_metrics.MISSING: "✕ not measured", nightly_metrics.BETTER: "▲ better",
         nightly_metrics.MOVED: "◆ moved", nightly_metrics.NEW: "new", nightly_metrics.SAME: "",
         nightly_metrics.UNJUDGED: "one seed: not judged"}
CLASSES = {nightly_metrics.WORSE: "bad", nightly_metrics.MISSING: "bad", nightly_metrics.BETTER: "good",
           nightly_metrics.MOVED: "moved"}
STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 "DejaVu Sans", "Segoe UI", system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto;
       max-width: 68rem; padding: 0 1.2rem }
h1 { font-size: 1.7rem; margin: 0 0 .2rem } h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid #ddd }
p.lead { color: #5f6b76; margin: 0 0 1rem } .verdict { padding: .7rem 1rem; border-left: 6px solid; font-size: 1.1rem }
.verdict.ok { border-color: #2a8f5b; background: #eef7f2 } .verdict.no { border-color: #c0392b; background: #fbeeec }
.scroll { overflow-x: auto } table { border-collapse: collapse; margin: .6rem 0; font-size: .88rem }
th, td { padding: .28rem .7rem; border-bottom: 1px solid #e4e7ea; text-align: left; vertical-align: top }
th { background: #f6f7f9 } td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
tr.bad td { background: #fbeeec } tr.good td { background: #eef7f2 } tr.moved td { background: #fdf6e3 }
img { max-width: 100%; height: auto; margin: .6rem 0 } code { background: #f6f7f9; padding: 0 .25rem }
@media print { body { margin: 0; max-width: none; font-size: 11pt } h2, img, tr { break-inside: avoid }
  h2 { break-after: avoid } .scroll { overflow: visible } * { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""


def text(value):
    return html.escape(str(value))


def cell(value):
    """A table's cell: numbers to the right."""
    number = re.fullmatch(r"[-+±.,\d\s%e()–]+|-|", str(value)) is not None
    return f"<td{' class=n' if number else ''}>{emphasis(value)}</td>"


def emphasis(value):
    """Escaped, with the **bold** and `code` of Markdown."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text(value)))


def table(head, rows, classes=None):
    classes = classes or [""] * len(rows)
    lines = "".join(f"<tr{f' class={mark}' if mark else ''}>{''.join(map(cell, row))}</tr>\n"
                    for row, mark in zip(rows, classes))
    return (f"<div class=scroll><table><thead><tr>{''.join(f'<th>{emphasis(h)}</th>' for h in head)}</tr></thead>\n"
            f"<tbody>{lines}</tbody></table></div>\n")


def picture(data, words):
    return f'<img alt="{text(words)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">\n'


def picture_file(path, words):
    try:
        with open(path, "rb") as file:
            return picture(file.read(), words)
    except FileNotFoundError:
        return ""


def of_markdown(path):
    """The headings, tables and paragraphs of a REPORT.md as HTML, without its title and pictures."""
    try:
        with open(path, encoding="utf-8") as file:
            blocks = file.read().split("\n\n")
    except OSError:
        return ""
    found = []
    for block in blocks:
        lines = [line for line in block.strip().splitlines() if line]
        if lines and lines[0].startswith("|"):
            rows = [[each.strip().replace("\\|", "|") for each in line.strip()[1:-1].split(" | ")] for line in lines]
            found.append(table(rows[0], rows[2:]))
        elif lines and lines[0].startswith("## "):
            found.append(f"<h3>{emphasis(lines[0][3:])}</h3>")
        elif lines and not lines[0].startswith(("#", "![")):
            found.append(f"<p>{emphasis(' '.join(lines))}</p>")
    return "\n".join(found)


# ---- figures ----------------------------------------------------------------------------------------------------

def figure(value):
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"


def difference(c):
    return "-" if c.before is None or c.now is None else f"{c.now - c.before:+.4f}"


def row_of(c):
    return [c.metric.part, c.metric.name, figure(c.now), figure(c.before), difference(c), figure(c.spread),
            MARKS[c.verdict] + (", as wanted" if c.verdict == nightly_metrics.BETTER else "")]


def table_of_changes(changes):
    return table(["part", "figure", "this night", "last good night", "difference", "seeds' spread", ""],
                 [row_of(c) for c in changes],
                 ["bad" if nightly_metrics.is_regression(c) else CLASSES.get(c.verdict, "") for c in changes])


def verdict(changes, good):
    bad = nightly_metrics.regressions(changes)
    if bad:
        lines = "<br>".join(text(nightly_metrics.describe(c, good)) for c in bad)
        plural = "s" if len(bad) > 1 else ""
        return f"<div class='verdict no'><b>{len(bad)} regression{plural}</b><br>{lines}</div>\n"
    if good is None:
        return "<div class='verdict ok'><b>The first night with these settings</b>: nothing to compare with yet.</div>\n"
    moved = sum(c.verdict in (nightly_metrics.BETTER, nightly_metrics.MOVED) for c in changes)
    return (f"<div class='verdict ok'><b>No regression</b> against {text(good['night'])}: of {len(changes)} figures "
            f"{moved} moved by more than the seeds' spread.</div>\n")


def same_bits(night, good_night):
    """A sentence on whether the points of two sweeps have the same checksums; empty where it cannot be told."""
    try:
        rows = [{row["point"]: row.get("checksum") for row in scaling_points.read_rows(
            os.path.join(each, "sweep", "results.csv")) if row.get("checksum")} for each in (night, good_night)]
    except run_files.Unusable:
        return ""
    common = set(rows[0]) & set(rows[1])
    same = sum(rows[0][name] == rows[1][name] for name in common)
    return f"<p>{same} of {len(common)} points of the sweep are the same bits as on the last good night.</p>" if common else ""


def sweep_table(night):
    """ev of each n and k, mean over seeds and half their range."""
    path = os.path.join(night, "sweep", "results.csv")
    cells = collections.defaultdict(list)
    for row in scaling_points.read_rows(path):
        if row["status"] == "complete" and row["fvu"]:
            cells[int(row["latents"]), int(row["k"])].append(1 - scaling_points.number(path, row, "fvu"))
    ns, ks = sorted({n for n, _ in cells}), sorted({k for _, k in cells})
    half = {at: (max(evs) - min(evs)) / 2 for at, evs in cells.items()}
    rows = [[f"n {n:,}", *(f"{np.mean(cells[n, k]):.4f} ± {half[n, k]:.4f}" if (n, k) in cells else "-" for k in ks)]
            for n in ns]
    return table(["held-out ev", *(f"k {k}" for k in ks)], rows)


def failures(night):
    """What the sweep says of points that failed."""
    points = (run_files.read_json(os.path.join(night, "sweep", "sweep.json")) or {}).get("points", [])
    bad = [[p.get("name"), p.get("status"), p.get("reason") or "-"] for p in points if p.get("status") != "complete"]
    return table(["point", "status", "reason"], bad) if bad else ""


def scaling_tables(night, changes):
    """The parameters of each law beside the last good night's and the paper's; the extrapolation; the warnings."""
    laws = (run_files.read_json(os.path.join(night, "sweep", "scaling.json")) or {}).get("laws", [])
    before = {c.metric.name: c.before for c in changes if c.metric.part == "scaling"}
    rows, tests, warnings = [], [], []
    for law in laws:
        words = law["formula"] + ("" if law["k"] is None else f" at k {law['k']:g}")
        for name, p in law.get("parameters", {}).items():
            rows.append([words, name, f"{p['value']:.4g}", f"{p['low']:.4g} – {p['high']:.4g}",
                         figure(before.get(nightly_metrics.label(law, name))), PUBLISHED_SCALING.get((law["law"], name), ""),
                         "" if p["identified"] else "not identified"])
        test = law.get("held_out")
        if test:
            tests.append([words, test["points"], f"{100 * test['mean_error']:.2f} %", f"{100 * test['max_error']:.2f} %",
                          f"{test['inside']} of {test['points']}"])
        warnings += [f"<li>{text(words)}: {text(warning)}</li>" for warning in law["warnings"]]
    body = table(["law", "", "this night", "95 %", "last good night", "Gao et al. 2024", ""], rows)
    if tests:
        body += "<h3>Extrapolation to the points held out</h3>" + table(
            ["law", "points", "mean error", "largest", "inside the band"], tests)
    return body + (f"<ul>{''.join(warnings)}</ul>" if warnings else "")


def history(out, settings, part):
    """[(night, mean of what is better higher)] of the complete nights with these settings."""
    found, place = [], os.path.join(out, "nights")
    for name in sorted(os.listdir(place)):
        night = run_files.read_json(os.path.join(place, name, "metrics.json"))
        if night and night["settings"] == settings:
            means = [np.mean(m["values"]) for m in night["metrics"]
                     if m["part"] == part and m["name"].startswith("ev") and m["values"]]
            if means:
                found.append((name, float(np.mean(means))))
    return found


def trend(out, settings):
    """A picture of mean ev over the nights; empty with fewer than two."""
    curves = {part: history(out, settings, part) for part in ("sweep", "objectives", "ensembles")}
    names = sorted({name for curve in curves.values() for name, _ in curve})
    if len(names) < 2:
        return ""
    plt.rcParams.update(plot_run.STYLE)
    drawn, axis = plt.subplots(figsize=(11, 3.6), dpi=110)
    for (part, curve), color in zip(curves.items(), (BLUE, GREEN, RED)):
        if curve:
            axis.plot([names.index(name) for name, _ in curve], [ev for _, ev in curve], "o-", color=color, label=part)
    every = max(1, len(names) // 10)
    axis.set_xticks(range(0, len(names), every), names[::every], fontsize=9)
    axis.set_ylabel("held-out ev, mean")
    axis.set_title("The nights so far")
    axis.legend()
    drawn.tight_layout()
    data = io.BytesIO()
    drawn.savefig(data, format="png")
    plt.close(drawn)
    return picture(data.getvalue(), "mean ev of the nights")


# ---- the page ---------------------------------------------------------------------------------------------------

def lead(about):
    settings = about["settings"]
    took = ", ".join(f"{part} {seconds / 60:.1f} min" for part, seconds in about["seconds"].items())
    return (f"<p class=lead>{text(about['version'])}; data {text(settings['data'])} ({settings['rows']:,} rows, d "
            f"{settings['d']}); begun {text(about['started'])}, ended {text(about['ended'])}; {text(took)}</p>\n")


def section(part, night, changes):
    place = os.path.join(night, part)
    if part == "sweep":
        return "<h2>Sweep over n and k</h2>\n" + sweep_table(night) + failures(night)
    if part == "objectives":
        return ("<h2>Selections and objectives</h2>\n" + picture_file(os.path.join(place, "objectives.png"), "ev against k")
                + picture_file(os.path.join(place, "directions.png"), "max_cos and first_order_r2")
                + of_markdown(os.path.join(place, "REPORT.md")))
    if part == "ensembles":
        return ("<h2>Ensembles</h2>\n" + picture_file(os.path.join(place, "ensemble.png"), "ev and stability against J")
                + of_markdown(os.path.join(place, "REPORT.md")))
    return ("<h2>Scaling laws</h2>\n" + picture_file(os.path.join(night, "sweep", "scaling.png"), "the fits of the laws")
            + scaling_tables(night, changes))


def write(out, night, about, good, changes):
    """Writes REPORT.html into the night's directory; its path.  good: good.json or None."""
    moved = [c for c in changes if nightly_metrics.is_regression(c)
             or c.verdict not in (nightly_metrics.SAME, nightly_metrics.NEW, nightly_metrics.UNJUDGED)]
    body = [f"<h1>hpsae, the night of {text(about['name'])}</h1>", lead(about), verdict(changes, good)]
    if good is not None:
        body.append(same_bits(night, os.path.join(out, "nights", good["night"])))
    if moved:
        body += ["<h2>What moved beyond the seeds' spread</h2>", table_of_changes(moved)]
    body.append(trend(out, about["settings"]))
    body += [section(part, night, changes) for part in about["settings"]["parts"]]
    body += ["<h2>All figures</h2>", table_of_changes(changes)]
    page = (f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>hpsae {text(about['name'])}</title><style>{STYLE}</style></head><body>\n" + "\n".join(body)
            + "\n</body></html>\n")
    path = os.path.join(night, "REPORT.html")
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.write(page)
    os.replace(path + ".tmp", path)
    return path
