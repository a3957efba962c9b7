"""Benchmark: ``kit nodes DIR --json`` on 1,250, 2,500 and 5,000 facts files with 12 kinds of drift, whole processes.

    python tests/bench_nodes.py [--rounds N]

The files are made from a recorded machine, each with what is its node's own.  Each process is bound to one CPU;
figures are medians, the peak is the largest.  What has to be found is found, or the benchmark stops.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_doctor import Run
from conftest import ROOT

from kit.nodes import simulated

BAR = (10.0, 500)  # seconds, MiB, for 5,000
SIZES = (1250, 2500, 5000)

# In a child of its own, whose only child is the one measured: ru_maxrss of children is a maximum, not a sum.
MEASURE = """
import json, os, resource, subprocess, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
begun = time.perf_counter()
with open(sys.argv[1], "w") as out:
    status = subprocess.run(sys.argv[2:], stdout=out).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss / 1024]))
"""


def measure(folder: Path, out: Path) -> Run:
    argv = [sys.executable, "-c", MEASURE, str(out), sys.executable, "-m", "kit", "nodes", str(folder), "--json"]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True)
    status, cpu, wall, peak = json.loads(done.stdout)
    assert status == 1, status
    return Run(cpu, wall, peak)


def check(out: Path, count: int) -> int:
    """Whether every kind of drift is a group of its own; how many groups there are."""
    answer = json.loads(out.read_text())
    assert answer["nodes"] == count and not answer["silent"], (answer["nodes"], answer["silent"])
    counts = [group["count"] for group in answer["groups"]]
    assert counts == [count - 12 * (count // 50), *[count // 50] * 12], counts
    assert all(group["differs"] for group in answer["groups"][1:])
    return len(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    load = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    print(f"medians of {rounds}, {load}; bar for 5,000: {BAR[0]:.0f} s on one CPU, {BAR[1]} MiB")
    with tempfile.TemporaryDirectory() as folder:
        for count in SIZES:
            place, out = Path(folder) / str(count), Path(folder) / f"{count}.json"
            simulated.write(str(place), count, dict.fromkeys(simulated.DRIFT, count // 50))
            size = sum(file.stat().st_size for file in place.iterdir()) / 2**20
            measure(place, out)  # warm: byte code and page cache
            runs = [measure(place, out) for _ in range(rounds)]
            cpu, wall = (statistics.median(getattr(run, of) for run in runs) for of in ("cpu", "wall"))
            peak = max(run.peak for run in runs)
            print(
                f"{count:>5,} nodes, {size:3.0f} MiB   {check(out, count)} groups   {cpu:5.2f} s CPU "
                f"{wall:5.2f} s wall {peak:4.0f} MiB   {cpu / count * 1000:.2f} ms a node"
            )


if __name__ == "__main__":
    main()
