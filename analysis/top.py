#!/usr/bin/python3
"""Shows what runs and how far it is: top.py [--once] [--every SECONDS] DIR...

DIR: the output of `hpsae train`, one run or an ensemble, or of `hpsae sweep`.  Reads their files, no more: it may run
anywhere that sees the directory.  On a terminal the page is renewed until Ctrl-C; else one line each is printed once.
"""
import argparse
import calendar
import collections
import json
import os
import shutil
import sys
import time

sys.dont_write_bytecode = True

import run_files

SILENT = 600  # seconds without a logged step after which a running job may be dead
TAIL = 1 << 20  # bytes of metrics.jsonl that are looked at

# `done` a share of the work or None; `eta` seconds or None; `notes` lines below it.
Row = collections.namedtuple("Row", "name kind status done ev speed eta notes")


def last_records(run):
    """The last complete objects of metrics.jsonl, oldest first: it may be written at this moment."""
    try:
        with open(os.path.join(run, "metrics.jsonl"), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    records = []
    for line in lines[1 if size > TAIL else 0:-1]:  # what follows the last newline is not complete yet
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def latest(records, key):
    return next((r[key] for r in reversed(records) if run_files.is_number(r.get(key))), None)


def read_json(path):
    """An object, or None where there is none or it cannot be read."""
    try:
        found = run_files.read_json(path)
    except run_files.Unusable:
        return None
    return found if isinstance(found, dict) else None


def wanted_tokens(run):
    try:
        return float(run_files.read_used(run)["train.tokens"])
    except (run_files.Unusable, KeyError, ValueError, TypeError):
        return None


def silence(run):
    """Seconds since the run last logged or told of itself."""
    times = [os.path.getmtime(path) for path in (os.path.join(run, name) for name in ("metrics.jsonl", "run.json"))
             if os.path.exists(path)]
    return time.time() - max(times) if times else 0


def row_of_run(run, name):
    """A run directory; what it says of itself, its last logged step, and how long the rest takes at that speed."""
    facts, records = read_json(os.path.join(run, "run.json")) or {}, last_records(run)
    status, tokens, wanted = str(facts.get("status", "waiting")), latest(records, "tokens"), wanted_tokens(run)
    speed, running = latest(records, "tokens_per_s"), status == "running"
    done = 1.0 if status == "complete" else min(1.0, tokens / wanted) if tokens is not None and wanted else None
    eta = (1 - done) * wanted / speed if running and done is not None and wanted and speed else None
    notes = []
    if running and silence(run) > SILENT:
        notes.append(f"silent for {duration(silence(run))}: is the job still there?")
    return Row(name, "run", status, done, latest(records, "heldout_ev"), speed if running else None, eta, notes)


def failures(rows):
    return [f"{row.name}: {row.status}" for row in rows if row.status.startswith("failed")]


def mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def total(values):
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def row_of_ensemble(directory, name, about):
    """An ensemble: its members, of which bagging trains several side by side."""
    members = [row_of_run(os.path.join(directory, m["directory"]), m["directory"]) for m in about.get("member", [])
               if isinstance(m, dict) and "directory" in m]
    count = max(1, int(about.get("members", len(members))))
    complete = sum(member.status == "complete" for member in members)
    done = sum(member.done or 0 for member in members) / count
    running = [member for member in members if member.status == "running"]
    facts = read_json(os.path.join(directory, "run.json")) or {}
    status = f"{facts.get('status', 'running' if running else 'waiting')}, {complete} of {count} members"
    ev = next((m.get("ev") for m in reversed(about.get("member", [])) if run_files.is_number(m.get("ev"))), None)
    ev = mean(member.ev for member in members) if about.get("method") == "bagging" else ev
    return Row(name, str(about.get("method", "ensemble")), status, done, ev, total(m.speed for m in running),
               left(directory, done) if running else None, failures(members))


def elapsed(directory):
    """Seconds that a run took, or has run by now; None when it does not tell."""
    facts = read_json(os.path.join(directory, "run.json")) or {}
    if run_files.is_number(facts.get("seconds")):
        return facts["seconds"]
    try:
        started = calendar.timegm(time.strptime(facts["started"], "%Y-%m-%dT%H:%M:%SZ"))
    except (KeyError, ValueError, TypeError):
        return None
    return max(0.0, time.time() - started)


def left(directory, done):
    """Seconds that the rest takes if it goes as what was done since run.json began."""
    spent = elapsed(directory)
    return spent * (1 - done) / done if spent is not None and done > 0 else None


def weight(point):
    """About how long a point takes beside others: it goes with n and the tokens, where the sweep changes them."""
    found, changed = 1.0, point.get("set") if isinstance(point.get("set"), dict) else {}
    for key in ("model.latents", "train.tokens"):
        try:
            found *= float(changed.get(key, 1))
        except (TypeError, ValueError):
            pass
    return found


def state_of(point, row):
    """Its status; sweep.json is written when a point ends, so that what runs by now is told by the run itself."""
    status = str(point.get("status"))
    return "running" if status in ("waiting", "running") and row.status == "running" else status


def left_of_sweep(directory, points, rows, states):
    """Seconds: the work left at the pace, seconds for a unit of weight, of what was done, by as many as run now."""
    spent = work = rest = 0.0
    for point, row, state in zip(points, rows, states):
        done = 1.0 if state == "complete" else row.done if state == "running" and row.done else 0.0
        seconds = elapsed(os.path.join(directory, "points", row.name))
        if done and seconds is not None:
            spent, work = spent + seconds, work + done * weight(point)
        rest += 0 if state == "failed" else (1 - done) * weight(point)
    running = states.count("running")
    return rest * spent / work / running if running and work else None


def row_of_sweep(directory, name, about):
    """A sweep: how many points wait, run, are complete and failed, and what those that run and failed say."""
    points = [point for point in about.get("points", []) if isinstance(point, dict)]
    rows = [row_of_run(os.path.join(directory, "points", str(point.get("name"))), str(point.get("name"))) for point in points]
    states = [state_of(point, row) for point, row in zip(points, rows)]
    counts, whole = collections.Counter(states), sum(map(weight, points))
    done = sum(weight(point) * (1 if state in ("complete", "failed") else row.done or 0)
               for point, row, state in zip(points, rows, states))
    running = [row for row, state in zip(rows, states) if state == "running"]
    status = ", ".join(f"{counts[word]} {word}" for word in ("complete", "running", "waiting", "failed") if counts[word])
    notes = [line(row) for row in running]
    notes += ["; ".join([f"{row.name}: {note}" for note in row.notes]) for row in running if row.notes]
    notes += [f"{point.get('name')}: failed: {point.get('reason') or 'no reason told'}"
              for point, state in zip(points, states) if state == "failed"]
    return Row(name, "sweep", status or "no points", done / whole if whole else None, None,
               total(row.speed for row in running), left_of_sweep(directory, points, rows, states), notes)


def row_of(directory):
    """A Row of any of them; Unusable when it is none."""
    name = os.path.basename(os.path.abspath(directory))
    for file, read in (("sweep.json", row_of_sweep), ("ensemble.json", row_of_ensemble)):
        if os.path.exists(os.path.join(directory, file)):
            about = read_json(os.path.join(directory, file))
            return read(directory, name, about) if about else Row(name, "?", f"{file} is no JSON", *[None] * 4, [])
    if any(os.path.exists(os.path.join(directory, file)) for file in ("run.json", "metrics.jsonl")):
        return row_of_run(directory, name)
    raise run_files.Unusable(f"{directory}: no run, ensemble or sweep (no run.json, ensemble.json or sweep.json in it)")


def duration(seconds):
    """90 -> '1 min 30 s'."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def line(row):
    """One line, without what is not known."""
    parts = [f"{row.name}: {row.status}"]
    if row.done is not None:
        parts.append(f"{100 * row.done:.0f} %")
    if row.ev is not None:
        parts.append(f"ev {row.ev:.4f}")
    if row.speed is not None:
        parts.append(f"{row.speed:,.0f} tokens/s")
    if row.eta is not None:
        parts.append(f"{duration(row.eta)} left")
    return ", ".join(parts)


def bar(done, width=20):
    if done is None:
        return " " * width
    full = int(done * width)
    return "#" * full + "." * (width - full)


def page(rows):
    """Lines of the renewed page."""
    lines = [f"{'':<24} {'':<9} {'':<20} {'done':>5}  {'ev':>7}  {'tokens/s':>9}  {'left':<14} status"]
    for row in rows:
        done = f"{100 * row.done:.0f} %" if row.done is not None else "-"
        ev = f"{row.ev:.4f}" if row.ev is not None else "-"
        speed = f"{row.speed:,.0f}" if row.speed is not None else "-"
        eta = duration(row.eta) if row.eta is not None else "-"
        lines.append(f"{row.name[:24]:<24} {row.kind:<9} {bar(row.done)} {done:>5}  {ev:>7}  {speed:>9}  {eta:<14} {row.status}")
        lines += [f"    {note}" for note in row.notes]
    return lines


def renew(directories, every):
    """The page, again and again, as much of it as the terminal shows."""
    while True:
        size = shutil.get_terminal_size()
        lines = page([row_of(directory) for directory in directories])
        head = f"hpsae  {time.strftime('%H:%M:%S')}   every {every:g} s, Ctrl-C ends"
        shown = [text[:size.columns] for text in [head, "", *lines]][:size.lines - 1]
        print("\033[H\033[J" + "\n".join(shown), flush=True)
        time.sleep(every)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        raise run_files.Unusable(message)


def body(arguments):
    parser = Parser(prog="top.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", metavar="DIR", nargs="+")
    parser.add_argument("--once", action="store_true", help="print once also on a terminal")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks")
    options = parser.parse_args(arguments)
    if not 0.1 <= options.every <= 3600:
        raise run_files.Unusable("--every must be from 0.1 to 3600 seconds")
    if sys.stdout.isatty() and not options.once:
        try:
            renew(options.directories, options.every)
        except KeyboardInterrupt:
            return
    for directory in options.directories:
        row = row_of(directory)
        print(line(row) + "".join(f"; {note}" for note in row.notes))


if __name__ == "__main__":
    run_files.main(body)
