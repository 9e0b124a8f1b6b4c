"""Runs the program on input that it must refuse: one exact line, exit status 2, on some numbers of ranks, in time, and
nothing written."""
import os
import re

import program
import tap

PREFIX = "hpsae: error: "
SECONDS = 60


def tree(directory="."):
    """Every file and directory below, with the size of files."""
    found = set()
    for base, directories, files in os.walk(directory):
        found.update((os.path.join(base, name), -1) for name in directories)
        found.update((os.path.join(base, name), os.path.getsize(os.path.join(base, name))) for name in files)
    return found


def check(name, arguments, line, ranks=(1, 3), leaves=(), anyhow=None):
    """The program must end with `line` ({ranks: line} where they differ), but for what the pattern `anyhow` matches; `leaves`
    are paths that may appear."""
    for count in ranks:
        before = tree()
        status, out, err = program.run(count, *arguments, seconds=SECONDS)
        lines = [text[len(PREFIX):] for text in err.splitlines() if text.startswith(PREFIX)]
        new = {path for path, _ in tree() - before} - set(leaves)
        wrong = []
        if status != 2:
            wrong.append(f"exit status {status}")
        wanted = line[count] if isinstance(line, dict) else line
        if anyhow is not None:
            lines, wanted = [re.sub(anyhow, "...", text) for text in lines], re.sub(anyhow, "...", wanted)
        if lines != [wanted]:
            wrong.append("said:   " + " / ".join(lines) + "\nwanted: " + wanted)
        if not lines or "HDF5-DIAG" in err or "Sanitizer" in err or "Signal:" in err:
            wrong.append(err)
        if new:
            wrong.append(f"left behind: {sorted(new)}")
        tap.check(not wrong, f"{name}, {count} rank{'s' if count > 1 else ''}", "\n".join(wrong))
