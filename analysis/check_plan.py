#!/usr/bin/python3
"""hpsae plan against hpsae train: the same configurations planned and run for some steps on planted data, the planned
seconds a step and memory a rank over the measured ones.

    hpsae bench ... --calibrate bench.json       (on an idle machine; see docs/performance.md)
    analysis/check_plan.py bench.json [--ranks P] [--threads T] [--steps N] [--json FILE]

Measured: the median over the steps, the first two left out, of the seconds a step (metrics.jsonl), or with --quickest the
least, for hosts that others use too; with the kernels that the bench file was measured with.  The largest resident memory of any rank (run.json).  Status 1
when a time is off by more than --time (0.15) or memory by more than --memory (0.05)."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 2  # steps at the start, which warm caches and pages

# name: d, latents, k, batch, what else
CASES = {
    "small": (128, 4096, 16, 2048, {}),
    "n 16384": (576, 16384, 32, 4096, {}),
    "n 65536": (576, 65536, 32, 4096, {}),
    "few latents": (768, 2048, 32, 4096, {}),
    "k 128": (576, 16384, 128, 2048, {}),
    "small batch": (576, 16384, 32, 512, {}),
    "large batch": (256, 8192, 32, 16384, {}),
    "odd sizes": (301, 10007, 21, 3000, {}),
    "clip, average": (576, 8192, 32, 4096, {"train.clip": 1, "train.ema": 0.999}),
    "batch_topk": (576, 16384, 32, 4096, {"model.select": "batch_topk"}),
    "matryoshka": (576, 16384, 32, 4096, {"model.select": "batch_topk", "train.objective": "matryoshka"}),
    "hierarchical": (384, 8192, 32, 2048, {"train.objective": "hierarchical"}),
    "multi_topk": (576, 16384, 32, 2048, {"train.objective": "multi_topk"}),
}


def run(command, log):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    with open(log, "w", encoding="utf-8") as file:
        file.write(done.stdout + done.stderr)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(word) for word in command)}\n{done.stdout}{done.stderr}")


def write_yaml(path, keys):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(keys, file)  # JSON is YAML


def make_store(options, directory, d):
    """Planted rows of d columns, float16; made once for each d."""
    store = os.path.join(directory, f"planted-{d}.h5")
    if not os.path.exists(store):
        settings = os.path.join(directory, "synth.yaml")
        write_yaml(settings, {"synth": {"output": store, "rows": options.rows, "dim": d, "latents": 4 * d,
                                        "dtype": "float16"}})
        run([options.program, "synth", settings], os.path.join(directory, "synth.log"))
    return store


def measure(run_directory, middle):
    """(seconds a step, largest resident bytes, seconds of each phase), the middle (median, or min) over the steps."""
    with open(os.path.join(run_directory, "metrics.jsonl"), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    with open(os.path.join(run_directory, "run.json"), encoding="utf-8") as file:
        facts = json.load(file)
    batch = lines[0]["tokens"] / lines[0]["step"]
    seconds = [batch / line["tokens_per_s"] for line in lines[SKIPPED:]]
    phases = {name: middle(line["seconds"][name]["mean"] for line in lines[SKIPPED:])
              for name in lines[0]["seconds"]}
    return middle(seconds), facts["memory_bytes"]["resident_peak"], phases


def one_case(options, directory, name):
    d, latents, k, batch, more = CASES[name]
    output = os.path.join(directory, "run-" + name.replace(" ", "-").replace(",", ""))
    config = os.path.join(directory, "config.yaml")
    write_yaml(config, {"output": output, "data": {"store": make_store(options, directory, d), "holdout": 0},
                        "model": {"latents": latents, "k": k},
                        "train": {"tokens": options.steps * batch, "batch": batch, "log_steps": 1, "eval_steps": 0,
                                  "sample": min(8192, options.rows), "aux": {"dead_tokens": 10**12}},
                        "grid": {"threads": options.threads}, "kernels": {"backend": options.backend}})
    settings = [word for key, value in more.items() for word in ("-s", f"{key}={value}")]
    planned = os.path.join(directory, "plan.json")
    run([options.program, "plan", config, *settings, "--ranks-per-node", options.ranks, "--threads", options.threads,
         "--bench", options.bench, "--dead", 0, "--json", planned], os.path.join(directory, "plan.log"))
    start = [*os.environ.get("MPIRUN", "mpirun").split(), "-n", options.ranks] if options.ranks > 1 else []
    run([*start, options.program, "train", config, *settings], os.path.join(directory, "train.log"))
    with open(planned, encoding="utf-8") as file:
        plan = json.load(file)
    seconds, memory, phases = measure(output, min if options.quickest else statistics.median)
    return {"name": name, "seconds": seconds, "planned_seconds": plan["time"]["step_seconds"], "memory": memory,
            "planned_memory": plan["memory"]["rank"], "phases": phases,
            "planned_phases": {phase: plan["phases"][phase]["seconds"] for phase in plan["phases"]}}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", help="what `hpsae bench --calibrate` wrote")
    parser.add_argument("--ranks", type=int, help="default: as the bench file measured")
    parser.add_argument("--threads", type=int, help="of a rank; default: as the bench file measured")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rows", type=int, default=100000, help="of the planted store")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), metavar="NAME")
    parser.add_argument("--time", type=float, default=0.15, help="largest error of the time that passes")
    parser.add_argument("--memory", type=float, default=0.05, help="largest error of the memory that passes")
    parser.add_argument("--quickest", action="store_true", help="the quickest step instead of the median one")
    parser.add_argument("--json", help="write the figures too")
    parser.add_argument("--program", default=os.path.join(HERE, "..", "bin", "hpsae"))
    options = parser.parse_args()
    with open(options.bench, encoding="utf-8") as file:
        bench = json.load(file)
    options.ranks = options.ranks or bench["ranks"]
    options.threads = options.threads or bench["threads"]
    options.backend = bench["backend"]
    return options


def main():
    options = arguments()
    results = []
    print(f"{options.ranks} ranks of {options.threads} threads; ratios are planned over measured")
    print(f"{'case':<15} {'ms a step':>10} {'planned':>10} {'ratio':>6}  {'MiB a rank':>10} {'planned':>9} {'ratio':>6}  "
          "worst phase")
    with tempfile.TemporaryDirectory(prefix="hpsae-plan-") as directory:
        for name in options.cases:
            r = one_case(options, directory, name)
            results.append(r)
            worst = max(r["phases"], key=lambda phase: abs(r["planned_phases"][phase] - r["phases"][phase]))
            print(f"{name:<15} {1e3 * r['seconds']:>10.3f} {1e3 * r['planned_seconds']:>10.3f} "
                  f"{r['planned_seconds'] / r['seconds']:>6.3f}  {r['memory'] / 2**20:>10.1f} "
                  f"{r['planned_memory'] / 2**20:>9.1f} {r['planned_memory'] / r['memory']:>6.3f}  "
                  f"{worst} {1e3 * r['phases'][worst]:.3f}, planned {1e3 * r['planned_phases'][worst]:.3f}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"ranks": options.ranks, "threads": options.threads, "cases": results}, file, indent=1)
    time = max(abs(r["planned_seconds"] / r["seconds"] - 1) for r in results)
    memory = max(abs(r["planned_memory"] / r["memory"] - 1) for r in results)
    print(f"largest error: time {100 * time:.1f} % (allowed {100 * options.time:.0f}), "
          f"memory {100 * memory:.1f} % (allowed {100 * options.memory:.0f})")
    return 0 if time <= options.time and memory <= options.memory else 1


if __name__ == "__main__":
    sys.exit(main())
