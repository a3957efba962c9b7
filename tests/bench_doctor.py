"""Benchmark: ``kit doctor --json`` against ``python -m torch.utils.collect_env``, whole processes in turn.

    python tests/bench_doctor.py [--rounds N]

Both read the same environment: the lab's, and throwaway ones in which its torch stands beside 25, 130 and 520
distributions, pip among them, which collect_env asks for a list.  Figures are medians; the ratio is the median of
the ratios of neighbouring runs, so that a machine whose speed drifts does not matter.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, Environment


@dataclass(frozen=True)
class Run:
    """CPU seconds (user and system) and peak memory (MiB, the largest single process) of one whole process."""

    cpu: float
    wall: float
    peak: float


def measure(argv: list[str], cwd: Path) -> Run:
    # In a child of its own, whose only child is the one measured: ru_maxrss of children is a maximum, not a sum.
    code = (
        "import json, resource, subprocess, sys, time; t = time.perf_counter();"
        "s = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode;"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([s, u.ru_utime + u.ru_stime, time.perf_counter() - t, u.ru_maxrss / 1024]))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, *argv], cwd=cwd, env=env, capture_output=True, check=True)
    status, cpu, wall, peak = json.loads(done.stdout)
    assert status == 0, (argv, status)
    return Run(cpu, wall, peak)


def add_distributions(environment: Environment, total: int) -> int:
    """Bring the environment to ``total`` distributions of about the usual size; returns how many there are."""
    have = len(list(environment.site.glob("*.dist-info")))
    for number in range(have, total):
        folder = environment.site / f"filler_{number}-1.{number}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: filler-{number}\nVersion: 1.{number}\nRequires-Dist: numpy>=1.20\n\n"
            + "text\n" * 800
        )
        (folder / "RECORD").write_text("".join(f"filler_{number}/module_{i}.py,sha256=x,{i}\n" for i in range(60)))
        (folder / "INSTALLER").write_text("pip\n")
    return max(have, total)


def compare(name: str, python: str, cwd: Path, rounds: int) -> None:
    ours, theirs = [python, "-m", "kit", "doctor", "--json"], [python, "-m", "torch.utils.collect_env"]
    measure(ours, cwd), measure(theirs, cwd)  # warm: byte code and page cache
    pairs = [(measure(ours, cwd), measure(theirs, cwd)) for _ in range(rounds)]
    kit_cpu, env_cpu = (statistics.median(pair[i].cpu for pair in pairs) for i in (0, 1))
    kit_wall, env_wall = (statistics.median(pair[i].wall for pair in pairs) for i in (0, 1))
    ratio = statistics.median(env.cpu / kit.cpu for kit, env in pairs)
    wall = statistics.median(env.wall / kit.wall for kit, env in pairs)
    peak, env_peak = (max(pair[i].peak for pair in pairs) for i in (0, 1))
    print(
        f"{name:<22} kit doctor {kit_cpu:.3f} s CPU {kit_wall:.3f} s wall {peak:.0f} MiB   "
        f"collect_env {env_cpu:.2f} s CPU {env_wall:.2f} s wall {env_peak:.0f} MiB   "
        f"ratio {ratio:.1f} CPU, {wall:.1f} wall"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"{rounds} rounds each, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; bar: ratio 15, 60 MiB")
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty"
        empty.mkdir()
        compare("lab", sys.executable, empty, rounds)
        for total in (25, 130, 520):
            environment = Environment(Path(folder) / str(total))
            environment.share("torch", "pip", "packaging", "nvidia-ml-py")
            count = add_distributions(environment, total)
            compare(f"{count} distributions", str(environment.python), empty, rounds)


if __name__ == "__main__":
    main()
