"""The page of reproduce.py: what its trainings came to beside what the papers say, in figures, words and pictures."""
import collections
import os

import numpy as np

import activations
import plot_objectives
import plot_run
import prefix_ev
import run_files
from plot_objectives import PURPLE
from plot_run import GREY, ORANGE, RED, plt

OUTLIER = 6  # a row whose norm is so many times the median's is an attention sink, no token like the others
# What the papers and one replication report, at 2304 dimensions and 65536 latents, of 500 M tokens and more.
PUBLISHED_COST = (("Bussmann et al. 2025, layer 12, L0 40", 0.72, 0.70),
                  ("a replication, layer 20, L0 70", 0.843, 0.811))
PUBLISHED_MAX_COS = (0.354, 0.148)  # BatchTopK, Matryoshka: the replication
AGREES, PARTLY, DIFFERS, UNKNOWN = "agrees", "agrees in part", "**does not agree**", "not measured"

# One claim of a paper: `here` are sentences on what was measured, `verdict` one of the words above.
Claim = collections.namedtuple("Claim", "title published here verdict")


class Results:
    """Evaluations of all seeds of the trainings, on all rows ("all") or on those without outliers ("plain")."""

    def __init__(self, options, trainings, variant):
        self.variant, self.ks, self.k = variant, options.ks, options.k
        self.evaluations, self.runs = {}, {}
        for training in trainings:
            found = []
            for seed in options.seeds:
                run = os.path.join(options.out, training.name, f"seed-{seed}")
                own = os.path.join(run, "plain", "eval.json")
                whole = run_files.read_json(os.path.join(run, "eval.json"))
                if whole is not None:
                    part = run_files.read_json(own) if variant == "plain" and os.path.exists(own) else None
                    found.append((run, {**whole, **{k: v for k, v in (part or {}).items() if v is not None}}))
            if found:
                self.runs[training.name] = [run for run, _ in found]
                self.evaluations[training.name] = [evaluation for _, evaluation in found]

    def values(self, name, *keys):
        """A figure of each seed, found by keys one within another; empty when it was not measured."""
        values = []
        for value in self.evaluations.get(name, []):
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            values.append(value)
        return [value for value in values if run_files.is_number(value)]

    def curve(self, name, key="ev_at_k"):
        """{size: [ev of each seed]}."""
        curve = collections.defaultdict(list)
        for evaluation in self.evaluations.get(name, []):
            for size, ev in plot_objectives.pairs(evaluation, key):
                curve[size].append(ev)
        return dict(curve)


def mean(values):
    return float(np.mean(values))


def spread(values, digits=4):
    """'mean (least - largest)', or the one value."""
    if not values:
        return "-"
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def apart(lower, higher):
    """Whether every seed of one lies below every seed of the other."""
    return max(lower) < min(higher)


def ordered(lower, higher):
    if len(lower) == len(higher) == 1:
        return "one seed each"
    return "every seed below every seed" if apart(lower, higher) else "on average; the seeds overlap"


def judge_matryoshka_max_cos(r):
    batch, nested = r.values(f"batch-{r.k}", "max_cos"), r.values(f"matryoshka-{r.k}", "max_cos")
    published = f"{PUBLISHED_MAX_COS[0]} to {PUBLISHED_MAX_COS[1]} (replication)"
    title = "Matryoshka lowers the largest cosine between latents (max_cos)"
    if not batch or not nested:
        return Claim(title, published, "", UNKNOWN)
    here = f"BatchTopK {spread(batch, 3)}, Matryoshka {spread(nested, 3)}"
    if mean(nested) >= mean(batch):
        return Claim(title, published, f"{here}: not lower", DIFFERS)
    ratio, theirs = mean(nested) / mean(batch), PUBLISHED_MAX_COS[1] / PUBLISHED_MAX_COS[0]
    here += f": lower ({ordered(nested, batch)}), by a factor of {ratio:.2f} where it was {theirs:.2f}"
    return Claim(title, published, here, AGREES if apart(nested, batch) else PARTLY)


def judge_prefixes(r):
    title = "Small prefixes of Matryoshka explain more than as many latents of BatchTopK"
    published = "direction only; no figure at hand"
    nested, single = r.curve(f"matryoshka-{r.k}", "prefix_ev"), r.curve(f"batch-{r.k}", "prefix_ev")
    inner = sorted(set(nested) & set(single))[:-1]
    if not inner:
        return Claim(title, published, "", UNKNOWN)
    better = [m for m in inner if mean(nested[m]) > mean(single[m])]
    here = (f"better at {len(better)} of {len(inner)} prefixes; at the smallest, {inner[0]} latents, "
            f"{spread(nested[inner[0]], 3)} against {spread(single[inner[0]], 3)} of the {inner[0]} latents that fire "
            "most often in BatchTopK")
    return Claim(title, published, here, AGREES if better == inner else PARTLY if better else DIFFERS)


def judge_matryoshka_cost(r):
    title = "At a small cost in full ev"
    published = "; ".join(f"{batch} to {nested} ({where})" for where, batch, nested in PUBLISHED_COST)
    batch, nested = r.values(f"batch-{r.k}", "ev"), r.values(f"matryoshka-{r.k}", "ev")
    if not batch or not nested:
        return Claim(title, published, "", UNKNOWN)
    cost, theirs = mean(batch) - mean(nested), [b - n for _, b, n in PUBLISHED_COST]
    here = f"BatchTopK {spread(batch)}, Matryoshka {spread(nested)}: "
    here += f"costs {cost:.4f}" if cost > 0 else f"gains {-cost:.4f}"
    here += f" (published: {' and '.join(f'{t:.3f}' for t in theirs)})"
    verdict = AGREES if cost <= max(theirs) else PARTLY if cost <= 2 * max(theirs) else DIFFERS
    return Claim(title, published, here, verdict)


def judge_hierarchical(r):
    title = "One hierarchical dictionary is within 0.01 ev of a TopK dictionary trained at each k"
    published = "on the Pareto front of TopK (Balagansky et al. 2025); 0.01 is our bound"
    curve = r.curve(f"hierarchical-{max(r.ks)}")
    gaps = {k: mean(r.values(f"topk-{k}", "ev")) - mean(curve[k])
            for k in r.ks if k in curve and r.values(f"topk-{k}", "ev")}
    if not gaps:
        return Claim(title, published, "", UNKNOWN)
    worst = max(gaps, key=gaps.get)
    told = ", ".join(f"{-gap:+.4f} at k {k}" for k, gap in gaps.items())
    here = f"difference to TopK: {told}; the worst is {-gaps[worst]:+.4f}"
    inside = [k for k, gap in gaps.items() if gap <= 0.01]
    return Claim(title, published, here, AGREES if len(inside) == len(gaps) else PARTLY if inside else DIFFERS)


def judge_topk_falls(r):
    title = "TopK's own curve falls away from the k that it was trained for"
    published = "Gao et al. 2024, 5.3; Balagansky et al. 2025"
    losses = {}
    for trained in r.ks:
        curve = r.curve(f"topk-{trained}")
        for k in r.ks:
            if k != trained and k in curve and r.values(f"topk-{k}", "ev"):
                losses[trained, k] = mean(r.values(f"topk-{k}", "ev")) - mean(curve[k])
    if not losses:
        return Claim(title, published, "", UNKNOWN)
    below = [pair for pair, loss in losses.items() if loss > 0]
    worst = max(losses, key=losses.get)
    own = [f"{-loss:+.4f} at k {k}" for (trained, k), loss in losses.items() if trained == r.k]
    here = (f"below the dictionary trained at that k in {len(below)} of {len(losses)} pairs; the worst, trained at "
            f"{worst[0]} and used at {worst[1]}, by {losses[worst]:.4f}; trained at {r.k}: {', '.join(own)}")
    return Claim(title, published, here,
                 AGREES if len(below) == len(losses) else PARTLY if 2 * len(below) > len(losses) else DIFFERS)


def judge_multi(r):
    title = "Multi-TopK flattens the curve past k: ev no longer falls"
    published = "Gao et al. 2024, 5.3"
    plain, multi = r.curve(f"topk-{r.k}"), r.curve(f"multi-{r.k}")
    past = 4 * r.k
    if past not in plain or past not in multi:
        return Claim(title, published, "", UNKNOWN)
    rises = [[late - own for late, own in zip(curve[past], curve[r.k])] for curve in (plain, multi)]
    cost = mean(plain[r.k]) - mean(multi[r.k])
    here = (f"from k {r.k} to {past} ev changes by {spread(rises[0])} with TopK and {spread(rises[1])} with "
            f"Multi-TopK, which at k {past} has {spread(multi[past])} against {spread(plain[past])}, and at k {r.k} "
            f"{'loses' if cost > 0 else 'gains'} {abs(cost):.4f}")
    better, flat = mean(multi[past]) > mean(plain[past]), mean(rises[1]) >= 0
    return Claim(title, published, here, AGREES if better and flat else PARTLY if better or flat else DIFFERS)


def judge_gradients(r):
    title = "g-SAE raises first_order_r2 against TopK at equal k"
    published = "direction only: more faithful to the model's loss (Olmo et al. 2024)"
    topk = r.values(f"gradients-topk-{r.k}", "first_order_r2")
    value = r.values(f"gradients-gsae-{r.k}", "first_order_r2")
    chosen = r.values(f"gradients-gsae-{r.k}", "gradient_select", "first_order_r2")
    if not topk or not value:
        return Claim(title, published, "", UNKNOWN)
    here = f"TopK {spread(topk, 3)}; g-SAE selecting by value {spread(value, 3)}"
    if chosen:
        here += f", by gradient {spread(chosen, 3)}"
    better = [mean(values) > mean(topk) for values in (value, chosen) if values]
    ev = (r.values(f"gradients-topk-{r.k}", "ev"), r.values(f"gradients-gsae-{r.k}", "ev"))
    here += f"; ev {spread(ev[0])} against {spread(ev[1])} by value"
    return Claim(title, published, here, AGREES if all(better) else PARTLY if any(better) else DIFFERS)


JUDGES = (judge_matryoshka_max_cos, judge_prefixes, judge_matryoshka_cost, judge_hierarchical, judge_topk_falls,
          judge_multi, judge_gradients)


def measure_prefixes(results, part):
    """Gives BatchTopK a prefix_ev at the sizes of Matryoshka; checks its reading against the program's ev."""
    sizes = sorted(results.curve(f"matryoshka-{results.k}", "prefix_ev"))
    name = f"batch-{results.k}"
    if not sizes or name not in results.runs:
        return
    used = run_files.read_used(results.runs[name][0])
    if results.variant == "plain" and part.plain:
        rows = activations.read_rows([part.plain])
    elif part.test:
        rows = activations.read_rows([part.test])
    else:
        rows = activations.read_last([used["data.store"]], int(used["data.holdout"]))
    for run, evaluation in zip(results.runs[name], results.evaluations[name]):
        found = prefix_ev.of_most_frequent(run, rows, sizes)
        if abs(found[sizes[-1]] - evaluation["ev"]) > 1e-3:
            raise run_files.Unusable(f"{run}: ev {evaluation['ev']:.5f} by hpsae, {found[sizes[-1]]:.5f} by the report")
        evaluation["prefix_ev"] = {"prefix": list(found), "ev": list(found.values())}


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def speed(run):
    """Tokens a second of a training, the median of what it logged; None when it logged none."""
    _, speeds = run_files.series(run_files.read_metrics(run), "tokens_per_s")
    return float(np.median(speeds)) if speeds else None


def table_of_trainings(everything, plain):
    """ev on all rows and without outliers, and what else tells dictionaries apart."""
    rows = []
    for name in everything.evaluations:
        speeds = [s for s in map(speed, everything.runs[name]) if s]
        rows.append([name, str(len(everything.runs[name])), spread(everything.values(name, "ev")),
                     *([spread(plain.values(name, "ev"))] if plain else []), spread(everything.values(name, "l0"), 1),
                     spread(everything.values(name, "max_cos"), 3), spread(everything.values(name, "shrinkage"), 3),
                     spread(everything.values(name, "alive_eval"), 3),
                     f"{mean(speeds):,.0f}" if speeds else "-"])
    head = ["training", "seeds", "ev, all rows", *(["ev, without outliers"] if plain else []), "l0", "max_cos",
            "shrinkage", "latents that fire", "tokens/s, median"]
    return table(head, rows)


def table_of_curves(results):
    names = [f"topk-{k}" for k in results.ks] + [f"multi-{results.k}", f"hierarchical-{max(results.ks)}"]
    rows = [["TopK trained at that k", *(spread(results.values(f"topk-{k}", "ev")) for k in results.ks)]]
    for name in (name for name in names if name in results.evaluations):
        curve = results.curve(name)
        rows.append([name, *(spread(curve.get(k, [])) for k in results.ks)])
    return table(["used at", *(f"k {k}" for k in results.ks)], rows)


def table_of_prefixes(results):
    nested, single = (results.curve(f"{name}-{results.k}", "prefix_ev") for name in ("matryoshka", "batch"))
    sizes = sorted(nested)
    return table(["latents", *map(str, sizes)],
                 [["Matryoshka, the first", *(spread(nested[m], 3) for m in sizes)],
                  ["BatchTopK, the most frequent", *(spread(single.get(m, []), 3) for m in sizes)]])


def table_of_gradients(results):
    rows = []
    for name, label, within in (("topk", "TopK", ()), ("gsae", "g-SAE, by value", ()),
                                ("gsae", "g-SAE, by gradient", ("gradient_select",))):
        full = f"gradients-{name}-{results.k}"
        rows.append([label, *(spread(results.values(full, *within, key), digits) for key, digits in
                              (("first_order_r2", 3), ("first_order_abs", 4), ("ev", 4), ("l0", 1)))])
    return table(["", "first_order_r2", "first_order_abs", "ev", "l0"], rows)


def families(results):
    """What the picture of all trainings on the main store shows."""
    titles = {"topk": "TopK", "hierarchical": "HierarchicalTopK", "multi": "Multi-TopK", "batch": "BatchTopK",
              "matryoshka": "Matryoshka BatchTopK"}
    return [plot_objectives.family(titles[name.split("-")[0]], int(name.split("-")[-1]), evaluations)
            for name, evaluations in results.evaluations.items() if name.split("-")[0] in titles]


def draw_dots(axis, title, label, groups):
    """A dot a seed and a line at the mean, for each (name, values, colour)."""
    axis.set_title(title)
    for place, (_, values, color) in enumerate(groups):
        axis.plot(np.full(len(values), place) + np.linspace(-0.08, 0.08, len(values)), values, "o", color=color,
                  markersize=9, alpha=0.7)
        axis.plot([place - 0.25, place + 0.25], [mean(values)] * 2, color=color, linewidth=3)
        axis.annotate(f"{mean(values):.3f}", (place + 0.28, mean(values)), va="center", color=color, fontweight="bold")
    axis.set_xticks(range(len(groups)), [name for name, _, _ in groups])
    axis.set_xlim(-0.6, len(groups) - 0.2)
    axis.grid(axis="x", visible=False)
    axis.margins(y=0.3)
    axis.set_ylabel(label)


def draw_directions(results, out):
    """max_cos, and first_order_r2 where there are gradients; False when neither was measured."""
    k = results.k
    groups = [("max_cos", "How alike latents are", "max_cos", [
        ("TopK", results.values(f"topk-{k}", "max_cos"), ORANGE),
        ("BatchTopK", results.values(f"batch-{k}", "max_cos"), RED),
        ("Matryoshka", results.values(f"matryoshka-{k}", "max_cos"), PURPLE)]),
        ("r2", "What the model's loss feels", "first_order_r2", [
            ("TopK", results.values(f"gradients-topk-{k}", "first_order_r2"), ORANGE),
            ("g-SAE,\nby value", results.values(f"gradients-gsae-{k}", "first_order_r2"), GREY),
            ("g-SAE,\nby gradient", results.values(f"gradients-gsae-{k}", "gradient_select", "first_order_r2"),
             plot_run.BLUE)])]
    shown = [(title, label, [g for g in group if g[1]]) for _, title, label, group in groups]
    shown = [item for item in shown if item[2]]
    if not shown:
        return False
    plt.rcParams.update(plot_run.STYLE)
    figure, axes = plt.subplots(1, len(shown), figsize=(6.4 * len(shown), 4.6), dpi=120, squeeze=False)
    for axis, item in zip(axes[0], shown):
        draw_dots(axis, *item)
    figure.tight_layout(w_pad=3)
    figure.savefig(out + ".tmp", format="png")
    os.replace(out + ".tmp", out)
    plt.close(figure)
    return True


def describe(part, config, d):
    """One line on a store and how it was trained on."""
    train = config["train"]
    where = (f"{part.evaluated:,} rows of {part.test}" if part.test
             else f"{part.evaluated:,} rows of the same store that were held out")
    return (f"{config['data']['store']}: {part.rows:,} rows, d {d}; {train['tokens']:,} tokens "
            f"({train['tokens'] / (part.rows - config['data']['holdout']):.1f} times over the rows) in steps of "
            f"{train['batch']:,}, lr {train['lr']}; judged on {where}, {part.outliers} of them outliers.")


def read_config(part):
    return run_files.read_json(part.config)


def heading(options, parts, trainings, results):
    """What was done, at which scale, and what is missing."""
    missing = [f"{t.name} seed {s}" for t in trainings for s in options.seeds
               if os.path.join(options.out, t.name, f"seed-{s}") not in results.runs.get(t.name, [])]
    some = next(iter(results.runs.values()))[0]
    facts = run_files.read_json(os.path.join(some, "run.json")) or {}
    main = read_config(parts["main"])
    lines = ["# What the papers say, at a small scale", "",
             f"{options.latents} latents, k {options.k} unless said otherwise, {len(options.seeds)} "
             f"seed{'s' if len(options.seeds) > 1 else ''}; means, with the least and the largest in brackets.  "
             f"Made by `make reproduce-small` with hpsae {facts.get('version', '?')} on {facts.get('cpu', '?')}.", ""]
    for name, part in parts.items():
        config = read_config(part)
        lines.append(f"- {'Main store' if name == 'main' else 'Store with gradients'}, "
                     f"{describe(part, config, activations.count_rows(config['data']['store'])[1])}")
    latents, tokens = 65536 / options.latents, 500e6 / main["train"]["tokens"]
    lines += ["", f"The papers' dictionaries have {latents:.0f} times as many latents (65,536) and were trained on "
              f"{tokens:,.0f} times as many tokens (500 M): directions can be compared, sizes cannot.",
              f"An outlier is a row whose norm is more than {OUTLIER} times the median's (an attention sink): a "
              "handful of them can carry half of the variance, and ev with them says little about the others."]
    if missing:
        lines += ["", f"**Not complete:** {len(missing)} trainings are missing ({', '.join(missing[:6])}"
                  f"{', ...' if len(missing) > 6 else ''}); the same command goes on."]
    return lines


def claims_table(everything, plain):
    rows, claims = [], [judge(plain or everything) for judge in JUDGES]
    whole = [judge(everything) for judge in JUDGES]
    for claim, other in zip(claims, whole):
        verdict = claim.verdict
        if plain and other.verdict != claim.verdict:
            verdict += f"; with outliers: {other.verdict}"
        rows.append([claim.title, claim.here or "-", claim.published, verdict])
    words = collections.Counter(claim.verdict for claim in claims)
    told = ", ".join(f"{words[word]} {word}" for word in (AGREES, PARTLY, DIFFERS, UNKNOWN) if words[word])
    told += "; judged on the rows without outliers" if plain else ""
    single = all(len(found) == 1 for found in everything.runs.values())
    told += "; with one seed there is no spread to tell chance from effect" if single else ""
    return [f"Of {len(claims)} claims: {told}.", "",
            table(["claim", "here", "published", "verdict"], rows)]


def write(options, parts, trainings):
    """Writes REPORT.md and its pictures into the output directory; the path of the page."""
    everything = Results(options, trainings, "all")
    if not everything.runs:
        raise run_files.Unusable(f"{options.out}: nothing was trained yet")
    plain = Results(options, trainings, "plain") if any(part.plain for part in parts.values()) else None
    for results in filter(None, (everything, plain)):
        measure_prefixes(results, parts["main"])
    best = plain or everything
    lines = heading(options, parts, trainings, everything)
    lines += ["", "## What agrees", "", *claims_table(everything, plain)]
    plot_objectives.draw(families(best), os.path.join(options.out, "objectives.png"), "One dictionary at every k")
    lines += ["", "![ev against k, against TopK trained at each k, and of prefixes](objectives.png)"]
    if draw_directions(best, os.path.join(options.out, "directions.png")):
        lines += ["", "![max_cos and first_order_r2, a dot a seed](directions.png)"]
    where = "rows without outliers" if plain else "all rows"
    lines += ["", "## Trainings", "", table_of_trainings(everything, plain),
              "", f"## ev at other k ({where})", "", table_of_curves(best)]
    if best.curve(f"matryoshka-{best.k}", "prefix_ev"):
        lines += ["", f"## ev of some latents alone ({where})", "", table_of_prefixes(best)]
    if "gradients" in parts:
        lines += ["", f"## Gradients ({'rows without outliers' if parts['gradients'].plain else 'all rows'})", "",
                  table_of_gradients(plain or everything)]
    path = os.path.join(options.out, "REPORT.md")
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    os.replace(path + ".tmp", path)
    return path
