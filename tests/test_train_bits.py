#!/usr/bin/python3
# seconds: 900
"""A run has the same bits on 1, 2, 3, 4 and 7 ranks, 1, 2 and 3 threads and both backends.

Everything that is printed of every step (losses, L0, dead latents, gradient norm, checksum, held-out ev) and the checksum
of the final state (weights, moments, average, dead counters) must be equal; n is not divisible by any number of ranks,
and at d 45 most ranks own no column block.
"""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import tap
import trained

LAYOUTS = [(1, 1), (1, 3), (2, 2), (3, 1), (4, 1), (7, 1), (1, 2), (3, 3)]  # ranks, threads; the backends in turn
BACKENDS = program.backends()
LAYOUTS = [(*layout, BACKENDS[-1 - place % len(BACKENDS)]) for place, layout in enumerate(LAYOUTS)]
VARIANTS = {
    "d 576": (576, {}),
    "d 45, clip, average, token scale": (45, {"train__clip": 0.02, "train__ema": 0.9, "data__scale": "token"}),
}


def outcome(directory, config, ranks, threads, backend):
    """All that must be equal; None after a failed run."""
    run = os.path.join(directory, f"run-{ranks}-{threads}-{backend}")
    status, out, err = program.run(ranks, "train", config, "-s", f"output={run}", "-s", f"kernels.backend={backend}",
                                   threads=threads)
    if status != 0:
        tap.note(f"status {status}\n{out}\n{err}")
        return None
    status, out, err = program.run(ranks, "eval", config, "--json", "-s", f"output={run}", threads=threads)
    facts = trained.run_facts(run)
    return {"lines": trained.exact_lines(run), "state": facts["state_checksum"], "checksum": facts["checksum"],
            "eval": (status, out.replace(run, ""))}


for name, (d, keys) in VARIANTS.items():
    with program.Directory() as path:
        trained.make_store(path, 1500, d)
        settings = trained.write_config(path, **keys)
        first = outcome(path, settings, *LAYOUTS[0])
        tap.check(first is not None and len(first["lines"]) == 20 and sum(line["aux_fvu"] > 0 for line in first["lines"]) > 3 and
                  first["eval"][0] == 0, f"{name}: one rank trains 20 steps, some with AuxK", first)
        for layout in LAYOUTS[1:]:
            this = outcome(path, settings, *layout)
            different = [key for key in first if this is None or this[key] != first[key]] if first else ["all"]
            tap.check(not different, f"{name}: {layout[0]} ranks, {layout[1]} threads, {layout[2]}: the same bits",
                      different)
tap.done()
