#!/usr/bin/python3
# seconds: 400
# alone: it measures
"""hpsae bench: its figures are complete and finite on one rank and on two; all backends, and one job and independent
copies, end at one checksum; the calibration holds its cases; what is wrong is said in one line, before anything is
measured; the pictures are drawn from what it wrote."""
import json
import math
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "oracle"))
import program
import tap
import trained

PHASES = ["io", "encode", "select", "decode", "aux", "gradient_adam", "comm"]
LIMITS = ["screen_flops", "float32_flops", "memory_bytes", "latency_seconds", "allreduce_bytes", "merge_pairs",
          "read_bytes"]
SIZES = ["-s", "model.latents=500", "-s", "model.k=8", "-s", "bench.dim=72", "-s", "train.batch=96", "--seconds", "0.2"]
PLOT = os.path.join(HERE, "..", "analysis", "plot_bench.py")


def bench(ranks, directory, *arguments):
    """The object that `hpsae bench` writes; None when it failed."""
    path = os.path.join(directory, f"bench{ranks}.json")
    status, out, err = program.run(ranks, "bench", *arguments, f"--json={path}")
    if not tap.check(status == 0 and err == "", f"{ranks} ranks, {' '.join(arguments[-3:])}: status 0", f"{status}\n{out}{err}"):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def numbers(value):
    """All numbers in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def check_phase(phase, label):
    governed = phase["limit"] != "none"
    tap.check(phase["seconds"] >= 0 and 0 <= phase["share"] <= 1.5 and phase["slowest_rank"] >= 0,
              f"{label}, {phase['name']}: a time and a share", phase)
    tap.check(all((phase[key] is not None) == governed for key in ("rate", "limit_rate", "reached")),
              f"{label}, {phase['name']}: a rate where a limit governs, {phase['limit']}", phase)
    if governed:
        tap.check(phase["rate"] > 0 and 0 < phase["reached"] < 1e4, f"{label}, {phase['name']}: a share of it", phase)


def check_report(about, ranks, store, label):
    tap.check(about["ranks"] == ranks and about["format"] == "hpsae bench report 1", f"{label}: the head", about)
    tap.check(all(math.isfinite(number) for number in numbers(about)), f"{label}: all numbers are finite")
    alone = {"latency_seconds", "allreduce_bytes"} if ranks == 1 else set()
    absent = alone | (set() if store else {"read_bytes"})
    limits = about["limits"]
    tap.check(list(limits) == LIMITS and {name for name in LIMITS if limits[name] is None} == absent,
              f"{label}: the limits that there are", limits)
    tap.check(all(limits[name]["mean"] > 0 and limits[name]["slowest"] > 0 for name in set(LIMITS) - absent),
              f"{label}: the limits are above 0", limits)
    tap.check([phase["name"] for phase in about["phases"]] == PHASES, f"{label}: the phases")
    for phase in about["phases"]:
        check_phase(phase, label)
    governed = {phase["name"] for phase in about["phases"] if phase["limit"] != "none"}
    tap.check({"io", "encode", "select", "decode", "gradient_adam"} <= governed and ("comm" in governed) == (ranks > 1),
              f"{label}: the phases that have limits", governed)
    step = about["step"]
    tap.check(step["tokens_per_s"] > 0 and step["steps"] >= 5 and 0 < step["reached"] < 1e4 and
              (0 < step["communication_share"] < 1.5 if ranks > 1 else step["communication_share"] == 0),
              f"{label}: the step", step)


def compare(ranks, directory):
    """The checksum of all backends."""
    about = bench(ranks, directory, *SIZES, "--compare")
    if about is None:
        return None
    ran = [entry for entry in about["compare"] if not entry["left_out"]]
    sums = {entry["checksum"] for entry in ran}
    tap.check(len(ran) >= 2 and len(sums) == 1, f"{ranks} ranks: backends end at one checksum", about["compare"])
    tap.check(ran[0]["times_as_fast"] == 1 and all(entry["step_seconds"] > 0 for entry in ran),
              f"{ranks} ranks: backends are measured against the first", about["compare"])
    return sums.pop()


def copies(directory):
    about = bench(2, directory, *SIZES, "--copies")
    if about is None:
        return None
    both = about["copies"]
    tap.check(both["together"]["checksum"] == both["copies"]["checksum"] and both["efficiency"] > 0,
              "together and as copies: one checksum", both)
    return both["together"]["checksum"]


def calibrate(ranks, directory):
    path = os.path.join(directory, f"calibration{ranks}.json")
    about = bench(ranks, directory, *SIZES[:-2], "--seconds", "2", "--calibrate", path)
    if about is None:
        return
    with open(path, encoding="utf-8") as file:
        written = json.load(file)
    tap.check(len(written["measured"]) == about["calibration"]["cases"] >= 12, f"{ranks} ranks: the cases", about)
    tap.check(written["ranks"] == ranks and all(number >= 0 for number in numbers(written["coefficients"])),
              f"{ranks} ranks: coefficients", written["coefficients"])
    config = trained.write_config(directory)
    status, out, err = program.run(1, "plan", config, "--dim", 64, "--bench", path)
    tap.check(status == 0 and "measured on" in out and err == "", f"{ranks} ranks: plan reads it", f"{status}\n{out}{err}")
    cases = [one["case"] for one in written["measured"]]
    tap.check(all(len({one[key] for one in cases}) > 2 for key in ("n", "d", "k", "batch")) and
              any(one["dead"] > 0 for one in cases), f"{ranks} ranks: sizes vary", cases)
    tap.check({one["groups"] for one in cases} == set(range(1, ranks + 1)), f"{ranks} ranks: data groups vary", cases)
    beside(ranks, directory, path)


def beside(ranks, directory, calibration):
    """--plan: what the fitted costs expect of the very step that is measured."""
    more = ("-s", f"train.calibration={calibration}", "-s", "train.groups=auto")
    about = bench(ranks, directory, *SIZES, "--plan", *more)
    if about is None:
        return
    said, mean = about["plan"], {phase["name"]: phase["mean_seconds"] for phase in about["phases"]}
    tap.check(not said["assumed"] and set(said["phases"]) == set(PHASES[1:]) and
              math.isclose(said["measured_seconds"], sum(mean[name] for name in PHASES[1:]), rel_tol=1e-6) and
              math.isclose(said["seconds"], sum(said["phases"].values()), rel_tol=1e-6) and
              (said["communication_share"] > 0) == (ranks > 1), f"{ranks} ranks: the plan stands beside the step", said)
    tap.check(about["grid"]["groups"] * about["grid"]["model_ranks"] == ranks, f"{ranks} ranks: groups auto", about["grid"])


def with_store(directory):
    trained.make_store(directory, 700, 24)
    config = trained.write_config(directory, model__latents=90, model__k=4, train__batch=64)
    for ranks in (1, 2):
        about = bench(ranks, directory, config, "--seconds", "0.2")
        if about is not None:
            check_report(about, ranks, True, f"store, {ranks} ranks")
            tap.check(about["case"]["d"] == 24 and about["case"]["data"] == "test", "the store's rows", about["case"])
    for rule in (("model.select=batch_topk",), ("train.objective=matryoshka",), ("train.clip=1", "train.ema=0.9"),
                 ("train.aux.dead_tokens=64",)):
        about = bench(2, directory, config, "--seconds", "0.1", *[word for key in rule for word in ("-s", key)])
        tap.check(about is not None and all(math.isfinite(number) for number in numbers(about)), f"{rule} is measured")


def by_gradient(directory):
    about = bench(2, directory, *SIZES, "-s", "model.select=gradient")
    tap.check(about is not None and about["case"]["select"] == "gradient", "random gradients serve", about)


def refused(directory):
    absent = os.path.join(directory, "absent", "x.json")
    cases = [(["--seconds", "x"], "--seconds x: allowed"), (["--seconds", "0"], "--seconds 0: allowed"),
             ([f"--json={absent}"], "cannot be written"), (["--calibrate", absent], "cannot be written"),
             (["--plan", "-s", f"train.calibration={absent}"], absent),
             (["-s", "train.groups=auto", "-s", f"train.calibration={absent}"], absent),
             (["-s", "model.k=20000"], "model.k"), (["-s", "train.batch=0"], "train.batch"),
             (["-s", f"data.store={absent}"], absent), ([absent], absent), (["a.yaml", "b.yaml"], "one file too many")]
    for arguments, wanted in cases:
        for ranks in (1, 2):
            status, out, err = program.run(ranks, "bench", *arguments, seconds=60)
            lines = [line for line in err.splitlines() if line.startswith("hpsae")]
            tap.check(status == 2 and len(lines) == 1 and wanted in lines[0] and "limits" not in out,
                      f"{ranks} ranks, {arguments[0]}: refused in one line", f"{status}\n{out}{err}")
    status, _, err = program.run(1, "train", "--compare", "x.yaml", seconds=60)
    tap.check(status == 2 and "only 'hpsae bench' takes it" in err, "other commands do not take its options", err)


def dry(directory):
    path = os.path.join(directory, "dry.json")
    status, out, err = program.run(2, "bench", *SIZES, "--dry-run", f"--json={path}")
    tap.check(status == 0 and "nothing was measured" in out and not os.path.exists(path), "a dry run writes nothing",
              f"{status}\n{out}{err}")
    status, out, err = program.run(1, "bench", *SIZES, "--json")
    tap.check(status == 0 and len(out.splitlines()) == 1 and json.loads(out)["ranks"] == 1, "--json is one line",
              f"{status}\n{out}{err}")


def draw(*arguments):
    done = subprocess.run([sys.executable, PLOT, *arguments], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def pictures(directory):
    """Of the files that the reports of one and of two ranks left."""
    import matplotlib.image
    files = [os.path.join(directory, f"bench{ranks}.json") for ranks in (1, 2)]
    for name, arguments in (("roofline", ["roofline", files[1]]), ("scaling", ["scaling", *files])):
        picture = os.path.join(directory, f"{name}.png")
        status, said = draw(*arguments, "-o", picture)
        if tap.check(status == 0 and os.path.exists(picture), f"{name} is drawn", said):
            height, width = matplotlib.image.imread(picture).shape[:2]
            tap.check(width >= 1200 and height >= 700, f"{name} is fit for a slide", f"{width} x {height}")
    status, said = draw("roofline", os.path.join(directory, "absent.json"), "-o", os.path.join(directory, "x.png"))
    tap.check(status == 2 and said.count("\n") == 1, "a file that is not there: one line, status 2", said)
    status, said = draw("scaling", os.path.join(directory, "calibration2.json"), "-o", os.path.join(directory, "x.png"))
    tap.check(status == 2 and "not a report" in said and said.count("\n") == 1, "a file of another kind is refused", said)


with program.Directory() as temporary:
    refused(temporary)
    dry(temporary)
    with_store(temporary)
    by_gradient(temporary)
    found = {compare(1, temporary), compare(2, temporary)}
    calibrate(1, temporary)
    calibrate(2, temporary)
    for count in (1, 2):
        figures = bench(count, temporary, *SIZES)
        if figures is not None:
            check_report(figures, count, False, f"random, {count} ranks")
    found.add(copies(temporary))
    tap.check(len(found) == 1 and None not in found, "one checksum on one rank and two, backends and copies", found)
    pictures(temporary)
tap.done()
