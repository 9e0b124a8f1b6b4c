"""Small sweeps for tests: a configuration, the table that a sweep leaves, what of it must not depend on the clock."""
import csv
import json
import os

import h5py

import trained

# What may differ between two runs of the same points: where and how fast.
PLACE = ("seconds", "ranks", "threads", "host", "backend")


def write_config(directory, sweep, **keys):
    """trained.write_config with a section sweep."""
    path = trained.write_config(directory, **keys)
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config["sweep"] = sweep
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return path


def points(output):
    """{name: entry} of sweep.json, in its order; a name that stands there twice is an error."""
    with open(os.path.join(output, "sweep.json"), encoding="utf-8") as file:
        entries = json.load(file)["points"]
    found = {entry["name"]: entry for entry in entries}
    assert len(found) == len(entries), [entry["name"] for entry in entries]
    return found


def rows(output):
    """{point: {column: text}} of results.csv."""
    with open(os.path.join(output, "results.csv"), encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    found = {row["point"]: row for row in table}
    assert len(found) == len(table), [row["point"] for row in table]
    return found


def exact_rows(output):
    return {name: {key: value for key, value in row.items() if key not in PLACE} for name, row in rows(output).items()}


def rows_of_h5(output):
    """results.h5 as results.csv writes it, but for numbers: {point: {column: value}}, missing values None."""
    with h5py.File(os.path.join(output, "results.h5"), "r") as file:
        table = file["results"][...]
    found = {}
    for row in table:
        values = {}
        for name in table.dtype.names:
            kind, value = table.dtype[name].kind, row[name]
            missing = not value if kind == "S" else value == -1 if kind == "i" else value != value
            values[name] = None if missing else value.decode() if kind == "S" else value.item()
        found[values["point"]] = values
    return found
