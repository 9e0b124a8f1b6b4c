#!/usr/bin/python3
"""What `hpsae plan` says of the same run on several allocations, as a table in Markdown.

    analysis/scaling_table.py CONFIG --nodes 64 1024 --ranks-per-node 8 --threads 8 [--bench FILE] [-- PLAN OPTIONS]

Each allocation has two lines: all ranks one data group, and the grid that plan finds best."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def plan(options, nodes, layout):
    """The plan's JSON; layout (ranks a node, threads, groups or None)."""
    ranks, threads, groups = layout
    with tempfile.TemporaryDirectory(prefix="hpsae-table-") as directory:
        result = os.path.join(directory, "plan.json")
        command = [options.program, "plan", options.config, "--nodes", nodes, "--ranks-per-node", ranks, "--threads",
                   threads, "--json", result, *(["--bench", options.bench] if options.bench else []), *options.more]
        if groups is not None:
            command += ["-s", f"{options.groups_key}={groups}"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(done.stderr.strip())
        with open(result, encoding="utf-8") as file:
            return json.load(file), done.stdout


def line(nodes, p):
    grid, memory = p["layout"], p["memory"]
    sent = sum(phase["bytes"] + phase["group_bytes"] for phase in p["phases"].values())
    return (f"| {nodes} | {grid['groups']} x {grid['ranks']} x {grid['threads']} | {memory['rank'] / 2**30:.1f} | "
            f"{p['time']['step_seconds']:.2f} | {p['time']['tokens_per_s']:,.0f} | "
            f"{100 * p['time']['communication_share']:.0f} % | {sent / 2**20:,.0f} | "
            f"{p['time']['input_bytes_per_s'] / 1e6:,.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--nodes", type=int, nargs="+", required=True)
    parser.add_argument("--ranks-per-node", type=int, default=8)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--bench")
    parser.add_argument("--program", default=os.path.join(HERE, "..", "bin", "hpsae"))
    parser.add_argument("--groups-key", default="train.groups", help=argparse.SUPPRESS)
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:cut])
    options.more = sys.argv[cut + 1:]
    for number, nodes in enumerate(options.nodes):
        first, text = plan(options, nodes, (options.ranks_per_node, options.threads, None))
        if number == 0:
            print("".join(f"    {row}\n" for row in text.splitlines() if row.startswith(("figures", "network"))))
            print("| nodes | groups x ranks x threads | GiB a rank | s a step | tokens/s | communication | MiB sent a rank "
                  "and step | MB/s read |\n|---|---|---|---|---|---|---|---|")
        print(line(nodes, first))
        best = first["best_groups"]
        if best is not None:
            print(line(nodes, plan(options, nodes, (best["ranks_per_node"], best["threads"], best["groups"]))[0]))


if __name__ == "__main__":
    main()
